//! Compiles a `Profile` into the classic BPF program that the kernel runs before each system call:
//! the architecture first, then a balanced tree over ranges of numbers, then the tests of the one
//! call it arrives at. Pure; `sys.rs` loads the result. Never decides: every leaf is the profile's.
//!
//! Not seccompiler: it emits one comparison per call in a chain, and knows one action for a match
//! and one for a mismatch. Here there are seven answers, and the chain costs: on load the kernel
//! simulates the filter for every number it knows (to remember the plain allows), so a chain of n
//! calls is walked n times; the tree loads in a third of the time.

use std::collections::HashMap;
use std::fmt;

use stockade_core::syscalls::{
    Action, Architecture, Arm, Condition, Errno, Half, Profile, Rule, Test, Word, X32_NUMBERS,
};

// From linux/bpf_common.h and linux/filter.h; libc has them as c_int or u32, a code is 16 bits.
const LOAD_WORD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_GREATER: u16 = 0x25;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// The kernel's limit, BPF_MAXINSNS.
pub(crate) const INSTRUCTIONS_MAX: usize = 4096;

/// One instruction, laid out as the kernel's `struct sock_filter`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// What it does.
    pub(crate) code: u16,
    /// How many instructions to skip if the comparison holds.
    pub(crate) jt: u8,
    /// How many to skip if not.
    pub(crate) jf: u8,
    /// The operand.
    pub(crate) k: u32,
}

impl Instruction {
    /// As the kernel reads it.
    pub(crate) fn to_bytes(self) -> [u8; 8] {
        let ([a, b], [c, d, e, f]) = (self.code.to_ne_bytes(), self.k.to_ne_bytes());
        [a, b, self.jt, self.jf, c, d, e, f]
    }

    /// And back.
    pub(crate) const fn from_bytes(bytes: [u8; 8]) -> Self {
        let [a, b, jt, jf, c, d, e, f] = bytes;
        Self { code: u16::from_ne_bytes([a, b]), jt, jf, k: u32::from_ne_bytes([c, d, e, f]) }
    }
}

impl Instruction {
    const fn plain(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }

    const fn answer(action: u32) -> Self {
        Self::plain(RETURN, action)
    }
}

/// Where `tell` goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Telling {
    /// To the listener that the filter is loaded with; it must answer EPERM and never continue.
    Listener,
    /// Nowhere, plain EPERM. The kernel gives a process one listener only, so inside another
    /// sandbox that has one, ours is refused (EBUSY).
    Silent,
}

/// The profile needs more instructions than the kernel takes, or than a jump can cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the system-call profile needs more than {INSTRUCTIONS_MAX} instructions")
    }
}

impl std::error::Error for TooLarge {}

/// The program for a profile; the same profile gives the same program.
///
/// # Errors
/// `TooLarge` if the kernel would not take it.
pub(crate) fn compile(profile: &Profile, telling: Telling) -> Result<Vec<Instruction>, TooLarge> {
    program(&ranges(profile), profile.architecture(), telling)
}

/// The program for a process that the program of `standing` holds for already, as it does for its children: the
/// rules that differ, and nothing else. The kernel takes the sterner answer of both.
///
/// # Errors
/// `TooLarge` if the kernel would not take it.
pub(crate) fn compile_beneath(profile: &Profile, standing: &Profile) -> Result<Vec<Instruction>, TooLarge> {
    let mut ranges = vec![Range { first: 0, answer: NOTHING_MORE }];
    for rule in profile.rules().iter().filter(|rule| !standing.rules().contains(rule)) {
        extend(&mut ranges, rule.number, answer_of(rule));
        extend(&mut ranges, rule.number.saturating_add(1), NOTHING_MORE);
    }
    // The answer of the other goes first to nobody, and EPERM outranks telling.
    program(&ranges, profile.architecture(), Telling::Silent)
}

const NOTHING_MORE: Answer<'_> = Answer::Always(Action::Allow);

fn program(ranges: &[Range<'_>], architecture: Architecture, telling: Telling) -> Result<Vec<Instruction>, TooLarge> {
    let mut program = vec![
        Instruction::plain(LOAD_WORD, ARCHITECTURE),
        Instruction { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: audit_architecture(architecture) },
        Instruction::answer(libc::SECCOMP_RET_KILL_PROCESS),
        Instruction::plain(LOAD_WORD, NUMBER),
    ];
    program.append(&mut tree(ranges, telling)?);
    // The kernel translates every instruction at every start.
    let program = share_answers(&program).unwrap_or(program);
    if program.len() > INSTRUCTIONS_MAX { Err(TooLarge) } else { Ok(program) }
}

/// Lets comparisons jump to an equal answer further on instead of one of their own; `None` if one
/// would have to jump too far.
fn share_answers(program: &[Instruction]) -> Option<Vec<Instruction>> {
    const NEAR: usize = 128;
    // Built from its end, because a jump must know how much follows it.
    let mut reversed: Vec<Instruction> = Vec::with_capacity(program.len());
    // Where each instruction, and the nearest answer of each kind, has come to lie, counted from the end.
    let mut places = vec![0; program.len()];
    let mut answers: HashMap<u32, usize> = HashMap::new();
    for (at, &instruction) in program.iter().enumerate().rev() {
        let skips = |reversed: &Vec<Instruction>, places: &[usize], skip: usize| {
            let place = places.get(at + 1 + skip)?;
            (reversed.len() - 1).checked_sub(*place)
        };
        let moved = match instruction {
            Instruction { code: RETURN, k, .. } => {
                let before = at.checked_sub(1).and_then(|before| program.get(before));
                let only_jumped_to = before.is_some_and(|before| !matches!(before.code, LOAD_WORD | AND));
                match answers.get(&k).filter(|place| only_jumped_to && reversed.len() - **place < NEAR) {
                    Some(&place) => {
                        if let Some(own) = places.get_mut(at) {
                            *own = place;
                        }
                        continue;
                    }
                    None => answers.insert(k, reversed.len()),
                };
                instruction
            }
            Instruction { code: JUMP, k, .. } => {
                let skipped = skips(&reversed, &places, usize::try_from(k).ok()?)?;
                Instruction { k: u32::try_from(skipped).ok()?, ..instruction }
            }
            Instruction { code: JUMP_IF_EQUAL | JUMP_IF_GREATER | JUMP_IF_AT_LEAST, jt, jf, .. } => {
                let narrow = |skip: u8| u8::try_from(skips(&reversed, &places, usize::from(skip))?).ok();
                Instruction { jt: narrow(jt)?, jf: narrow(jf)?, ..instruction }
            }
            other => other,
        };
        if let Some(own) = places.get_mut(at) {
            *own = reversed.len();
        }
        reversed.push(moved);
    }
    reversed.reverse();
    Some(reversed)
}

/// The kernel's name for an architecture, from linux/audit.h: ELF machine, 64 bit, little endian.
const fn audit_architecture(architecture: Architecture) -> u32 {
    match architecture {
        Architecture::X86_64 => 0xc000_003e,
        Architecture::Aarch64 => 0xc000_00b7,
    }
}

/// All numbers from `first` up to the next range.
struct Range<'p> {
    first: u32,
    answer: Answer<'p>,
}

#[derive(Clone, Copy)]
enum Answer<'p> {
    Always(Action),
    ByArgument(&'p Rule),
}

impl Answer<'_> {
    /// Whether a neighbour with this answer can share its range; calls with tests stand alone.
    fn merges_with(self, other: Self) -> bool {
        matches!((self, other), (Self::Always(first), Self::Always(second)) if first == second)
    }
}

/// Every number there is, in ranges: sorted, starting at 0, neighbours different.
fn ranges(profile: &Profile) -> Vec<Range<'_>> {
    const UNKNOWN: Answer<'_> = Answer::Always(Action::Errno(Errno::Enosys));
    let mut ranges = vec![Range { first: 0, answer: UNKNOWN }];
    for rule in profile.rules() {
        extend(&mut ranges, rule.number, answer_of(rule));
        extend(&mut ranges, rule.number.saturating_add(1), UNKNOWN);
    }
    if profile.architecture() == Architecture::X86_64 {
        extend(&mut ranges, *X32_NUMBERS.start(), Answer::Always(Action::Kill));
        extend(&mut ranges, X32_NUMBERS.end().saturating_add(1), UNKNOWN);
    }
    ranges
}

fn answer_of(rule: &Rule) -> Answer<'_> {
    if rule.arms.is_empty() { Answer::Always(rule.otherwise) } else { Answer::ByArgument(rule) }
}

/// From `first` on, `answer`: replaces a range that would be empty, joins one that says the same.
fn extend<'p>(ranges: &mut Vec<Range<'p>>, first: u32, answer: Answer<'p>) {
    ranges.pop_if(|last| last.first == first);
    if !ranges.last().is_some_and(|last| last.answer.merges_with(answer)) {
        ranges.push(Range { first, answer });
    }
}

/// The accumulator holds the number; each level halves the ranges that are left.
fn tree(ranges: &[Range<'_>], telling: Telling) -> Result<Vec<Instruction>, TooLarge> {
    let (below, above) = ranges.split_at(ranges.len() / 2);
    let (true, Some(pivot)) = (!below.is_empty(), above.first()) else {
        // INVARIANT: the ranges begin at 0 and are never empty, so there is exactly one here.
        return ranges.first().map_or(Err(TooLarge), |range| leaf(range.answer, telling));
    };
    let mut lower = tree(below, telling)?;
    let mut upper = tree(above, telling)?;
    let mut program = Vec::with_capacity(2 + lower.len() + upper.len());
    match u8::try_from(lower.len()) {
        Ok(skipped) => program.push(Instruction { code: JUMP_IF_AT_LEAST, jt: skipped, jf: 0, k: pivot.first }),
        // A comparison skips at most 255 instructions; an unconditional jump has 32 bits.
        Err(_) => {
            let skipped = u32::try_from(lower.len()).map_err(|_| TooLarge)?;
            program.push(Instruction { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: pivot.first });
            program.push(Instruction::plain(JUMP, skipped));
        }
    }
    program.append(&mut lower);
    program.append(&mut upper);
    Ok(program)
}

fn leaf(answer: Answer<'_>, telling: Telling) -> Result<Vec<Instruction>, TooLarge> {
    let rule = match answer {
        Answer::Always(action) => {
            return Ok(vec![Instruction::answer(kernel_action(action, telling))]);
        }
        Answer::ByArgument(rule) => rule,
    };
    let mut program = Vec::new();
    let mut held = None;
    for arms in rule.arms.chunk_by(|first, second| first.action == second.action) {
        program.append(&mut group(arms, held, telling)?);
        held = arms.last().and_then(held_after);
    }
    program.push(Instruction::answer(kernel_action(rule.otherwise, telling)));
    Ok(program)
}

/// Neighbouring arms with one action, then the answer they share. An arm that matches jumps to it;
/// one that does not goes on to the next, the last one past the answer.
fn group(arms: &[Arm], mut held: Option<Word>, telling: Telling) -> Result<Vec<Instruction>, TooLarge> {
    let mut tests = Vec::new();
    for arm in arms {
        for (left, test) in (0..arm.tests.len()).rev().zip(arm.tests.iter()) {
            tests.push((left == 0, test, held));
            held = (!changes_word(test)).then_some(test.word);
        }
        held = held_after(arm);
    }
    let Some(action) = arms.first().map(|arm| arm.action) else {
        return Ok(Vec::new());
    };
    // Built from its end, because a jump must know how much follows it.
    let mut reversed = vec![Instruction::answer(kernel_action(action, telling))];
    // The length of the program from which the next arm, or what follows the answer, goes on.
    let mut go_on = 0;
    for (at, (last_of_arm, test, held)) in tests.into_iter().enumerate().rev() {
        let length = reversed.len();
        if last_of_arm && at + 1 < tests_in(arms) {
            go_on = length;
        }
        let holds = if last_of_arm { length - 1 } else { 0 };
        push_reversed(&mut reversed, test, held, Skips::new(holds, length - go_on)?)?;
    }
    reversed.reverse();
    Ok(reversed)
}

fn tests_in(arms: &[Arm]) -> usize {
    arms.iter().map(|arm| arm.tests.len()).sum()
}

/// How many instructions after a test are skipped.
struct Skips {
    if_it_holds: u8,
    if_not: u8,
}

impl Skips {
    fn new(if_it_holds: usize, if_not: usize) -> Result<Self, TooLarge> {
        let narrow = |skip| u8::try_from(skip).map_err(|_| TooLarge);
        Ok(Self { if_it_holds: narrow(if_it_holds)?, if_not: narrow(if_not)? })
    }
}

/// A test, last instruction first.
fn push_reversed(
    reversed: &mut Vec<Instruction>,
    test: &Test,
    held: Option<Word>,
    skips: Skips,
) -> Result<(), TooLarge> {
    let Skips { if_it_holds: jt, if_not: jf } = skips;
    match test.condition {
        Condition::Equals(value) => {
            reversed.push(Instruction { code: JUMP_IF_EQUAL, jt, jf, k: value });
        }
        Condition::Masked { mask, value } => {
            reversed.push(Instruction { code: JUMP_IF_EQUAL, jt, jf, k: value });
            reversed.push(Instruction::plain(AND, mask));
        }
        Condition::Within { low, high } => {
            reversed.push(Instruction { code: JUMP_IF_GREATER, jt: jf, jf: jt, k: high });
            let below = jf.checked_add(1).ok_or(TooLarge)?;
            reversed.push(Instruction { code: JUMP_IF_AT_LEAST, jt: 0, jf: below, k: low });
        }
    }
    if held != Some(test.word) {
        reversed.push(Instruction::plain(LOAD_WORD, offset(test.word)));
    }
    Ok(())
}

/// What the accumulator surely holds when an arm did not match: its word if it has one test, which
/// leaves the word as it was. With several tests nobody knows which failed.
fn held_after(arm: &Arm) -> Option<Word> {
    match arm.tests.as_ref() {
        [test] if !changes_word(test) => Some(test.word),
        _ => None,
    }
}

const fn changes_word(test: &Test) -> bool {
    matches!(test.condition, Condition::Masked { .. })
}

/// Where a word lies in `struct seccomp_data`; both architectures are little endian.
fn offset(word: Word) -> u32 {
    let half = match word.half() {
        Half::Low => 0,
        Half::High => 4,
    };
    ARGUMENTS + 8 * u32::from(word.argument()) + half
}

fn kernel_action(action: Action, telling: Telling) -> u32 {
    match (action, telling) {
        (Action::Allow, _) => libc::SECCOMP_RET_ALLOW,
        (Action::Errno(errno), _) => libc::SECCOMP_RET_ERRNO | errno_number(errno),
        (Action::Tell, Telling::Listener) => libc::SECCOMP_RET_USER_NOTIF,
        (Action::Tell, Telling::Silent) => libc::SECCOMP_RET_ERRNO | errno_number(Errno::Eperm),
        (Action::Kill, _) => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

/// The same on both architectures; `libc` has them signed.
const fn errno_number(errno: Errno) -> u32 {
    match errno {
        Errno::Eperm => libc::EPERM.unsigned_abs(),
        Errno::Enosys => libc::ENOSYS.unsigned_abs(),
        Errno::Einval => libc::EINVAL.unsigned_abs(),
        Errno::Enotty => libc::ENOTTY.unsigned_abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const X86_64: u32 = 0xc000_003e;
    const I386: u32 = 0x4000_0003;

    static PROFILE: LazyLock<Profile> = LazyLock::new(|| Profile::builtin(Architecture::X86_64));
    static PROGRAM: LazyLock<Vec<Instruction>> = LazyLock::new(|| compile(&PROFILE, Telling::Listener).unwrap());

    /// Runs a program as the kernel would; the answer and how many instructions it took.
    fn interpret(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> (u32, usize) {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(architecture.to_le_bytes());
        data.extend(0xdead_beef_dead_beef_u64.to_le_bytes());
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let (mut accumulator, mut at) = (0_u32, 0_usize);
        for steps in 1..=INSTRUCTIONS_MAX {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let mut branch = |holds| at += usize::from(if holds { jt } else { jf });
            match code {
                LOAD_WORD => {
                    let word = usize::try_from(k).unwrap();
                    accumulator = u32::from_le_bytes(data[word..word + 4].try_into().unwrap());
                }
                AND => accumulator &= k,
                JUMP => at += usize::try_from(k).unwrap(),
                JUMP_IF_EQUAL => branch(accumulator == k),
                JUMP_IF_GREATER => branch(accumulator > k),
                JUMP_IF_AT_LEAST => branch(accumulator >= k),
                RETURN => return (k, steps),
                other => panic!("no such instruction: {other:#x}"),
            }
        }
        panic!("the program does not end");
    }

    fn expected(profile: &Profile, number: u32, arguments: [u64; 6]) -> u32 {
        kernel_action(profile.decide(number, &arguments), Telling::Listener)
    }

    /// Every constant that a profile tests.
    fn edges(profile: &Profile) -> Vec<u64> {
        let tests = profile.rules().iter().flat_map(|rule| rule.arms.iter()).flat_map(|arm| arm.tests.iter());
        tests
            .flat_map(|test| match test.condition {
                Condition::Equals(value) => [value, value],
                Condition::Masked { mask, value } => [value, mask],
                Condition::Within { low, high } => [low, high],
            })
            .map(u64::from)
            .collect()
    }

    /// Values that sit on, next to and above every constant the profile tests.
    fn interesting() -> impl Strategy<Value = u64> {
        let mut edges = edges(&PROFILE);
        edges.extend([0, 1, 2, u64::MAX, 1 << 31, 1 << 32, 0x8_0801]);
        edges.sort_unstable();
        edges.dedup();
        let edge = proptest::sample::select(edges);
        let upper = prop_oneof![3 => Just(0_u64), 1 => Just(1 << 32), 1 => any::<u64>().prop_map(|bits| bits << 32)];
        prop_oneof![
            4 => (edge.clone(), upper).prop_map(|(value, upper)| value | upper),
            2 => (edge.clone(), 0_u32..64).prop_map(|(value, bit)| value ^ 1 << bit),
            2 => (edge, prop_oneof![Just(1_u64), Just(u64::MAX)]).prop_map(|(value, step)| value.wrapping_add(step)),
            1 => any::<u64>(),
        ]
    }

    /// An engine has its template's filter and what differs from it: together they are those of a run.
    #[test]
    fn what_differs_and_what_stands_are_the_whole() {
        let standing = PROFILE.clone().of_template();
        let of_template = compile(&standing, Telling::Silent).unwrap();
        let of_engine = compile_beneath(&PROFILE, &standing).unwrap();
        let whole = compile(&PROFILE, Telling::Silent).unwrap();
        let allows = |program: &[Instruction], number, arguments| {
            interpret(program, X86_64, number, arguments).0 == libc::SECCOMP_RET_ALLOW
        };
        // Every small value, as options of prctl are, and every constant that either profile tests.
        let mut firsts: Vec<u64> = (0..128).chain(edges(&PROFILE)).chain(edges(&standing)).collect();
        firsts.sort_unstable();
        firsts.dedup();
        for number in (0..480).chain([0x4000_0000, u32::MAX]) {
            for &first in &firsts {
                for second in [0, 1, 2, first] {
                    let arguments = [first, second, second, 0, 0, 0];
                    let both = allows(&of_template, number, arguments) && allows(&of_engine, number, arguments);
                    assert_eq!(both, allows(&whole, number, arguments), "{number} {arguments:x?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn so_they_are_whatever_the_arguments(number in 0_u32..480, arguments: [u64; 6]) {
            static PROGRAMS: LazyLock<[Vec<Instruction>; 3]> = LazyLock::new(|| {
                let standing = PROFILE.clone().of_template();
                let of_template = compile(&standing, Telling::Silent).unwrap();
                let of_engine = compile_beneath(&PROFILE, &standing).unwrap();
                [of_template, of_engine, compile(&PROFILE, Telling::Silent).unwrap()]
            });
            let allows = PROGRAMS.each_ref().map(|program| {
                interpret(program, X86_64, number, arguments).0 == libc::SECCOMP_RET_ALLOW
            });
            prop_assert_eq!(allows[0] && allows[1], allows[2], "{} {:?}", number, arguments);
        }
    }

    #[test]
    fn every_number_answers_as_the_profile_says() {
        let x32 = 0x4000_0000..=0x4000_0400;
        let edges = [0x3fff_ffff, 0x7fff_fffe, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX - 1, u32::MAX];
        let (mut deepest, mut deepest_plain) = (0, 0);
        for number in (0..=2000).chain(x32).chain(edges) {
            for argument in [0, 1, 2, 0o4755, 0x5412, 0x1000_0011, u64::MAX, 1 << 32] {
                let arguments = [argument; 6];
                let (answer, steps) = interpret(&PROGRAM, X86_64, number, arguments);
                assert_eq!(answer, expected(&PROFILE, number, arguments), "{number:#x} {argument:#x}");
                let plain = PROFILE.rules().iter().all(|rule| rule.number != number || rule.arms.is_empty());
                deepest = deepest.max(steps);
                deepest_plain = if plain { deepest_plain.max(steps) } else { deepest_plain };
            }
        }
        println!("{} instructions; deepest {deepest_plain} without tests, {deepest} with", PROGRAM.len());
        assert!(deepest_plain <= 14, "{deepest_plain}");
        assert!(deepest <= 14 + 64, "{deepest}");
    }

    /// The profiles that runs load besides the built-in one.
    #[test]
    fn so_do_those_of_the_init_and_of_runs_without_a_cgroup() {
        let init = Profile::parse(include_str!("../../../profiles/init.txt"), Architecture::X86_64).unwrap();
        for profile in [init, PROFILE.clone().watched()] {
            let program = compile(&profile, Telling::Listener).unwrap();
            for number in (0..=600).chain([0x4000_0000, u32::MAX]) {
                for argument in [0, 1, 0o4755, 0x5412, 0x1000_0011, u64::MAX] {
                    let arguments = [argument; 6];
                    let answer = interpret(&program, X86_64, number, arguments).0;
                    assert_eq!(answer, expected(&profile, number, arguments), "{number:#x} {argument:#x}");
                }
            }
        }
    }

    #[test]
    fn another_architecture_ends_the_process() {
        for architecture in [0, I386, 0xc000_00b7, X86_64 ^ 1, u32::MAX] {
            for number in [0, 11, 59, 0x4000_0000, u32::MAX] {
                assert_eq!(interpret(&PROGRAM, architecture, number, [0; 6]).0, libc::SECCOMP_RET_KILL_PROCESS);
            }
        }
    }

    #[test]
    fn every_arm_is_reached_by_an_argument_built_for_it() {
        for rule in PROFILE.rules() {
            for arm in rule.arms.iter() {
                let mut arguments = [0_u64; 6];
                for test in arm.tests.iter() {
                    let value = match test.condition {
                        Condition::Equals(value) | Condition::Masked { value, .. } => value,
                        Condition::Within { high, .. } => high,
                    };
                    let shift = if test.word.half() == Half::Low { 0 } else { 32 };
                    arguments[usize::from(test.word.argument())] |= u64::from(value) << shift;
                }
                let answer = interpret(&PROGRAM, X86_64, rule.number, arguments).0;
                assert_eq!(answer, expected(&PROFILE, rule.number, arguments), "{} {arguments:x?}", rule.name);
            }
        }
    }

    #[test]
    fn a_silent_filter_never_notifies() {
        let program = compile(&PROFILE, Telling::Silent).unwrap();
        let notifies =
            |instruction: &&Instruction| instruction.code == RETURN && instruction.k == libc::SECCOMP_RET_USER_NOTIF;
        assert_eq!(program.iter().filter(notifies).count(), 0);
        assert!(PROGRAM.iter().filter(notifies).count() > 0);
    }

    #[test]
    fn it_compiles_the_same_twice_and_is_laid_out_as_the_kernel_reads() {
        assert_eq!(compile(&PROFILE, Telling::Listener).unwrap(), *PROGRAM);
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(std::mem::offset_of!(Instruction, k), std::mem::offset_of!(libc::sock_filter, k));
    }

    #[test]
    fn other_architectures_compile_too() {
        let profile = Profile::builtin(Architecture::Aarch64);
        let program = compile(&profile, Telling::Listener).unwrap();
        for number in (0..=600).chain([0x4000_0000, u32::MAX]) {
            for argument in [0, 0o4755, 0x1000_0011] {
                let answer = interpret(&program, 0xc000_00b7, number, [argument; 6]).0;
                assert_eq!(answer, expected(&profile, number, [argument; 6]));
            }
        }
        assert_eq!(interpret(&program, X86_64, 0, [0; 6]).0, libc::SECCOMP_RET_KILL_PROCESS);
    }

    /// A profile in which every call carries `arms` tests, to force jumps over 255 instructions.
    fn wide_profile(arms: u32) -> Profile {
        let mut text = String::new();
        for rule in PROFILE.rules() {
            let on_aarch64 = Profile::builtin(Architecture::Aarch64);
            let marker = if on_aarch64.rules().iter().any(|other| other.name == rule.name) { "" } else { "on x86_64" };
            for arm in 0..arms {
                text += &format!("tell {} {marker} if arg3.high == {} ; x\n", rule.name, arm * 7 + rule.number);
            }
            text += &format!("allow {} {marker} ; x\n", rule.name);
        }
        Profile::parse(&text, Architecture::X86_64).unwrap()
    }

    #[test]
    fn long_jumps_go_through_trampolines() {
        let profile = wide_profile(3);
        let program = compile(&profile, Telling::Listener).unwrap();
        assert!(program.iter().any(|instruction| instruction.code == JUMP));
        for number in 0..=600 {
            for value in [number, number + 7, number + 14, number + 15, 0] {
                let arguments = [0, 0, 0, u64::from(value) << 32, 0, 0];
                let answer = interpret(&program, X86_64, number, arguments).0;
                assert_eq!(answer, expected(&profile, number, arguments), "{number} {value}");
            }
        }
    }

    /// How much the kernel is spared at every start; what it answers is told by the tests above.
    #[test]
    fn equal_answers_are_shared() {
        let own = tree(&ranges(&PROFILE), Telling::Listener).unwrap().len() + 4;
        assert!(PROGRAM.len() * 4 < own * 3, "{} of {own}", PROGRAM.len());
    }

    #[test]
    fn what_the_kernel_would_not_take_is_refused() {
        assert_eq!(compile(&wide_profile(16), Telling::Listener), Err(TooLarge));
    }

    #[test]
    fn jumps_stay_inside_and_the_end_is_an_answer() {
        for (at, instruction) in PROGRAM.iter().enumerate() {
            let far = match instruction.code {
                JUMP => usize::try_from(instruction.k).unwrap(),
                JUMP_IF_EQUAL | JUMP_IF_GREATER | JUMP_IF_AT_LEAST => usize::from(instruction.jt.max(instruction.jf)),
                _ => 0,
            };
            assert!(at + far + usize::from(instruction.code != RETURN) < PROGRAM.len());
        }
        assert_eq!(PROGRAM.last().map(|instruction| instruction.code), Some(RETURN));
    }

    /// Only where the kernel's headers are installed; they may be older than the profile.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn every_number_in_the_kernel_headers_has_that_name() {
        let Ok(header) = std::fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h") else {
            return;
        };
        let named = header.lines().filter_map(|line| line.strip_prefix("#define __NR_")?.split_once(' '));
        for (name, number) in named {
            assert_eq!(PROFILE.name(number.trim().parse().unwrap()), Some(name));
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn numbers_agree_with_libc() {
        macro_rules! agree {
            ($($constant:ident $name:literal),* $(,)?) => {
                $(assert_eq!(PROFILE.name(u32::try_from(libc::$constant).unwrap()), Some($name));)*
            };
        }
        agree!(
            SYS__sysctl "_sysctl", SYS_accept "accept", SYS_accept4 "accept4", SYS_access "access",
            SYS_acct "acct", SYS_add_key "add_key", SYS_adjtimex "adjtimex",
            SYS_afs_syscall "afs_syscall", SYS_alarm "alarm", SYS_arch_prctl "arch_prctl",
            SYS_bind "bind", SYS_bpf "bpf", SYS_brk "brk", SYS_capget "capget", SYS_capset "capset",
            SYS_chdir "chdir", SYS_chmod "chmod", SYS_chown "chown", SYS_chroot "chroot",
            SYS_clock_adjtime "clock_adjtime", SYS_clock_getres "clock_getres",
            SYS_clock_gettime "clock_gettime", SYS_clock_nanosleep "clock_nanosleep",
            SYS_clock_settime "clock_settime", SYS_clone "clone", SYS_clone3 "clone3",
            SYS_close "close", SYS_close_range "close_range", SYS_connect "connect",
            SYS_copy_file_range "copy_file_range", SYS_creat "creat",
            SYS_delete_module "delete_module", SYS_dup "dup", SYS_dup2 "dup2", SYS_dup3 "dup3",
            SYS_epoll_create "epoll_create", SYS_epoll_create1 "epoll_create1",
            SYS_epoll_ctl "epoll_ctl", SYS_epoll_ctl_old "epoll_ctl_old",
            SYS_epoll_pwait "epoll_pwait", SYS_epoll_pwait2 "epoll_pwait2",
            SYS_epoll_wait "epoll_wait", SYS_epoll_wait_old "epoll_wait_old", SYS_eventfd "eventfd",
            SYS_eventfd2 "eventfd2", SYS_execve "execve", SYS_execveat "execveat", SYS_exit "exit",
            SYS_exit_group "exit_group", SYS_faccessat "faccessat", SYS_faccessat2 "faccessat2",
            SYS_fadvise64 "fadvise64", SYS_fallocate "fallocate", SYS_fanotify_init "fanotify_init",
            SYS_fanotify_mark "fanotify_mark", SYS_fchdir "fchdir", SYS_fchmod "fchmod",
            SYS_fchmodat "fchmodat", SYS_fchmodat2 "fchmodat2", SYS_fchown "fchown",
            SYS_fchownat "fchownat", SYS_fcntl "fcntl", SYS_fdatasync "fdatasync",
            SYS_fgetxattr "fgetxattr", SYS_finit_module "finit_module", SYS_flistxattr "flistxattr",
            SYS_flock "flock", SYS_fork "fork", SYS_fremovexattr "fremovexattr",
            SYS_fsconfig "fsconfig", SYS_fsetxattr "fsetxattr", SYS_fsmount "fsmount",
            SYS_fsopen "fsopen", SYS_fspick "fspick", SYS_fstat "fstat", SYS_fstatfs "fstatfs",
            SYS_fsync "fsync", SYS_ftruncate "ftruncate", SYS_futex "futex",
            SYS_futex_waitv "futex_waitv", SYS_futimesat "futimesat",
            SYS_get_mempolicy "get_mempolicy", SYS_get_robust_list "get_robust_list",
            SYS_get_thread_area "get_thread_area", SYS_getcpu "getcpu", SYS_getcwd "getcwd",
            SYS_getdents "getdents", SYS_getdents64 "getdents64", SYS_getegid "getegid",
            SYS_geteuid "geteuid", SYS_getgid "getgid", SYS_getgroups "getgroups",
            SYS_getitimer "getitimer", SYS_getpeername "getpeername", SYS_getpgid "getpgid",
            SYS_getpgrp "getpgrp", SYS_getpid "getpid", SYS_getpmsg "getpmsg",
            SYS_getppid "getppid", SYS_getpriority "getpriority", SYS_getrandom "getrandom",
            SYS_getresgid "getresgid", SYS_getresuid "getresuid", SYS_getrlimit "getrlimit",
            SYS_getrusage "getrusage", SYS_getsid "getsid", SYS_getsockname "getsockname",
            SYS_getsockopt "getsockopt", SYS_gettid "gettid", SYS_gettimeofday "gettimeofday",
            SYS_getuid "getuid", SYS_getxattr "getxattr", SYS_init_module "init_module",
            SYS_inotify_add_watch "inotify_add_watch", SYS_inotify_init "inotify_init",
            SYS_inotify_init1 "inotify_init1", SYS_inotify_rm_watch "inotify_rm_watch",
            SYS_io_cancel "io_cancel", SYS_io_destroy "io_destroy", SYS_io_getevents "io_getevents",
            SYS_io_setup "io_setup", SYS_io_submit "io_submit", SYS_io_uring_enter "io_uring_enter",
            SYS_io_uring_register "io_uring_register", SYS_io_uring_setup "io_uring_setup",
            SYS_ioctl "ioctl", SYS_ioperm "ioperm", SYS_iopl "iopl", SYS_ioprio_get "ioprio_get",
            SYS_ioprio_set "ioprio_set", SYS_kcmp "kcmp", SYS_kexec_file_load "kexec_file_load",
            SYS_kexec_load "kexec_load", SYS_keyctl "keyctl", SYS_kill "kill",
            SYS_landlock_add_rule "landlock_add_rule",
            SYS_landlock_create_ruleset "landlock_create_ruleset",
            SYS_landlock_restrict_self "landlock_restrict_self", SYS_lchown "lchown",
            SYS_lgetxattr "lgetxattr", SYS_link "link", SYS_linkat "linkat", SYS_listen "listen",
            SYS_listxattr "listxattr", SYS_llistxattr "llistxattr",
            SYS_lookup_dcookie "lookup_dcookie", SYS_lremovexattr "lremovexattr", SYS_lseek "lseek",
            SYS_lsetxattr "lsetxattr", SYS_lstat "lstat", SYS_madvise "madvise", SYS_mbind "mbind",
            SYS_membarrier "membarrier", SYS_memfd_create "memfd_create",
            SYS_memfd_secret "memfd_secret", SYS_migrate_pages "migrate_pages",
            SYS_mincore "mincore", SYS_mkdir "mkdir", SYS_mkdirat "mkdirat", SYS_mknod "mknod",
            SYS_mknodat "mknodat", SYS_mlock "mlock", SYS_mlock2 "mlock2", SYS_mlockall "mlockall",
            SYS_mmap "mmap", SYS_modify_ldt "modify_ldt", SYS_mount "mount",
            SYS_mount_setattr "mount_setattr", SYS_move_mount "move_mount",
            SYS_move_pages "move_pages", SYS_mprotect "mprotect", SYS_mq_getsetattr "mq_getsetattr",
            SYS_mq_notify "mq_notify", SYS_mq_open "mq_open", SYS_mq_timedreceive "mq_timedreceive",
            SYS_mq_timedsend "mq_timedsend", SYS_mq_unlink "mq_unlink", SYS_mremap "mremap",
            SYS_mseal "mseal", SYS_msgctl "msgctl", SYS_msgget "msgget", SYS_msgrcv "msgrcv",
            SYS_msgsnd "msgsnd", SYS_msync "msync", SYS_munlock "munlock",
            SYS_munlockall "munlockall", SYS_munmap "munmap",
            SYS_name_to_handle_at "name_to_handle_at", SYS_nanosleep "nanosleep",
            SYS_newfstatat "newfstatat", SYS_nfsservctl "nfsservctl", SYS_open "open",
            SYS_open_by_handle_at "open_by_handle_at", SYS_open_tree "open_tree",
            SYS_openat "openat", SYS_openat2 "openat2", SYS_pause "pause",
            SYS_perf_event_open "perf_event_open", SYS_personality "personality",
            SYS_pidfd_getfd "pidfd_getfd", SYS_pidfd_open "pidfd_open",
            SYS_pidfd_send_signal "pidfd_send_signal", SYS_pipe "pipe", SYS_pipe2 "pipe2",
            SYS_pivot_root "pivot_root", SYS_pkey_alloc "pkey_alloc", SYS_pkey_free "pkey_free",
            SYS_pkey_mprotect "pkey_mprotect", SYS_poll "poll", SYS_ppoll "ppoll",
            SYS_prctl "prctl", SYS_pread64 "pread64", SYS_preadv "preadv", SYS_preadv2 "preadv2",
            SYS_prlimit64 "prlimit64", SYS_process_madvise "process_madvise",
            SYS_process_mrelease "process_mrelease", SYS_process_vm_readv "process_vm_readv",
            SYS_process_vm_writev "process_vm_writev", SYS_pselect6 "pselect6", SYS_ptrace "ptrace",
            SYS_putpmsg "putpmsg", SYS_pwrite64 "pwrite64", SYS_pwritev "pwritev",
            SYS_pwritev2 "pwritev2", SYS_quotactl "quotactl", SYS_quotactl_fd "quotactl_fd",
            SYS_read "read", SYS_readahead "readahead", SYS_readlink "readlink",
            SYS_readlinkat "readlinkat", SYS_readv "readv", SYS_reboot "reboot",
            SYS_recvfrom "recvfrom", SYS_recvmmsg "recvmmsg", SYS_recvmsg "recvmsg",
            SYS_remap_file_pages "remap_file_pages", SYS_removexattr "removexattr",
            SYS_rename "rename", SYS_renameat "renameat", SYS_renameat2 "renameat2",
            SYS_request_key "request_key", SYS_restart_syscall "restart_syscall", SYS_rmdir "rmdir",
            SYS_rseq "rseq", SYS_rt_sigaction "rt_sigaction", SYS_rt_sigpending "rt_sigpending",
            SYS_rt_sigprocmask "rt_sigprocmask", SYS_rt_sigqueueinfo "rt_sigqueueinfo",
            SYS_rt_sigreturn "rt_sigreturn", SYS_rt_sigsuspend "rt_sigsuspend",
            SYS_rt_sigtimedwait "rt_sigtimedwait", SYS_rt_tgsigqueueinfo "rt_tgsigqueueinfo",
            SYS_sched_get_priority_max "sched_get_priority_max",
            SYS_sched_get_priority_min "sched_get_priority_min",
            SYS_sched_getaffinity "sched_getaffinity", SYS_sched_getattr "sched_getattr",
            SYS_sched_getparam "sched_getparam", SYS_sched_getscheduler "sched_getscheduler",
            SYS_sched_rr_get_interval "sched_rr_get_interval",
            SYS_sched_setaffinity "sched_setaffinity", SYS_sched_setattr "sched_setattr",
            SYS_sched_setparam "sched_setparam", SYS_sched_setscheduler "sched_setscheduler",
            SYS_sched_yield "sched_yield", SYS_seccomp "seccomp", SYS_security "security",
            SYS_select "select", SYS_semctl "semctl", SYS_semget "semget", SYS_semop "semop",
            SYS_semtimedop "semtimedop", SYS_sendfile "sendfile", SYS_sendmmsg "sendmmsg",
            SYS_sendmsg "sendmsg", SYS_sendto "sendto", SYS_set_mempolicy "set_mempolicy",
            SYS_set_mempolicy_home_node "set_mempolicy_home_node",
            SYS_set_robust_list "set_robust_list", SYS_set_thread_area "set_thread_area",
            SYS_set_tid_address "set_tid_address", SYS_setdomainname "setdomainname",
            SYS_setfsgid "setfsgid", SYS_setfsuid "setfsuid", SYS_setgid "setgid",
            SYS_setgroups "setgroups", SYS_sethostname "sethostname", SYS_setitimer "setitimer",
            SYS_setns "setns", SYS_setpgid "setpgid", SYS_setpriority "setpriority",
            SYS_setregid "setregid", SYS_setresgid "setresgid", SYS_setresuid "setresuid",
            SYS_setreuid "setreuid", SYS_setrlimit "setrlimit", SYS_setsid "setsid",
            SYS_setsockopt "setsockopt", SYS_settimeofday "settimeofday", SYS_setuid "setuid",
            SYS_setxattr "setxattr", SYS_shmat "shmat", SYS_shmctl "shmctl", SYS_shmdt "shmdt",
            SYS_shmget "shmget", SYS_shutdown "shutdown", SYS_sigaltstack "sigaltstack",
            SYS_signalfd "signalfd", SYS_signalfd4 "signalfd4", SYS_socket "socket",
            SYS_socketpair "socketpair", SYS_splice "splice", SYS_stat "stat", SYS_statfs "statfs",
            SYS_statx "statx", SYS_swapoff "swapoff", SYS_swapon "swapon", SYS_symlink "symlink",
            SYS_symlinkat "symlinkat", SYS_sync "sync", SYS_sync_file_range "sync_file_range",
            SYS_syncfs "syncfs", SYS_sysfs "sysfs", SYS_sysinfo "sysinfo", SYS_syslog "syslog",
            SYS_tee "tee", SYS_tgkill "tgkill", SYS_time "time", SYS_timer_create "timer_create",
            SYS_timer_delete "timer_delete", SYS_timer_getoverrun "timer_getoverrun",
            SYS_timer_gettime "timer_gettime", SYS_timer_settime "timer_settime",
            SYS_timerfd_create "timerfd_create", SYS_timerfd_gettime "timerfd_gettime",
            SYS_timerfd_settime "timerfd_settime", SYS_times "times", SYS_tkill "tkill",
            SYS_truncate "truncate", SYS_tuxcall "tuxcall", SYS_umask "umask",
            SYS_umount2 "umount2", SYS_uname "uname", SYS_unlink "unlink", SYS_unlinkat "unlinkat",
            SYS_unshare "unshare", SYS_uselib "uselib", SYS_userfaultfd "userfaultfd",
            SYS_ustat "ustat", SYS_utime "utime", SYS_utimensat "utimensat", SYS_utimes "utimes",
            SYS_vfork "vfork", SYS_vhangup "vhangup", SYS_vmsplice "vmsplice",
            SYS_vserver "vserver", SYS_wait4 "wait4", SYS_waitid "waitid", SYS_write "write",
            SYS_writev "writev",
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn the_program_and_the_profile_agree(
            call in any::<proptest::sample::Index>(),
            anything in 0..=700_u32,
            conditional in prop::bool::weighted(0.9),
            arguments in prop::array::uniform6(interesting()),
        ) {
            let rules: Vec<&Rule> = PROFILE.rules().iter().filter(|rule| !rule.arms.is_empty()).collect();
            let number = if conditional { call.get(&rules).number } else { anything };
            let answer = interpret(&PROGRAM, X86_64, number, arguments).0;
            prop_assert_eq!(answer, expected(&PROFILE, number, arguments));
        }
    }
}

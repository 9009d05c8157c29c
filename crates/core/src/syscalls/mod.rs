//! The system-call profile: what code inside the walls may ask of the kernel, read from
//! `profiles/seccomp.txt` (its head explains the lines). Pure: text in, `Profile` out; `decide` is
//! the slow obvious oracle that the compiled filter in `launch` is tested against. Never guesses:
//! an unknown name, a stray word or a rule that can never be reached is an error.

mod numbers;

use std::borrow::Cow;
use std::fmt;
use std::ops::RangeInclusive;

use numbers::{NUMBERS, Numbered};

/// Numbers by which an x86_64 kernel takes a call for the x32 architecture. Larger ones are
/// negative to the kernel, simply unknown, and programs do try -1.
pub const X32_NUMBERS: RangeInclusive<u32> = 0x4000_0000..=0x7fff_ffff;

const TESTS_MAX: usize = 4;
const SUMMARY_COLUMNS: usize = 100;

/// An architecture with a table of system calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// 64-bit Intel and AMD.
    X86_64,
    /// 64-bit Arm, little endian.
    Aarch64,
}

impl Architecture {
    /// The architecture this program was built for, if it is one of ours.
    #[must_use]
    pub const fn native() -> Option<Self> {
        if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
            Some(Self::X86_64)
        } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    fn number(self, numbered: &Numbered) -> Option<u32> {
        match self {
            Self::X86_64 => numbered.x86_64,
            Self::Aarch64 => numbered.aarch64,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

/// What happens to a system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The kernel answers.
    Allow,
    /// The call fails with this error.
    Errno(Errno),
    /// The call fails with EPERM and the supervisor is told.
    Tell,
    /// The process ends.
    Kill,
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => formatter.write_str("allow"),
            Self::Errno(Errno::Eperm) => formatter.write_str("refuse"),
            Self::Errno(errno) => write!(formatter, "errno {}", errno.name()),
            Self::Tell => formatter.write_str("tell"),
            Self::Kill => formatter.write_str("kill"),
        }
    }
}

/// The errors a refused call may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Errno {
    /// Known and refused.
    Eperm,
    /// As a kernel that lacks the call.
    Enosys,
    /// As a call with an option the kernel does not know.
    Einval,
    /// As an ioctl on a descriptor that has no such request.
    Enotty,
}

impl Errno {
    const ALL: [Self; 4] = [Self::Eperm, Self::Enosys, Self::Einval, Self::Enotty];

    /// Its name in C.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eperm => "EPERM",
            Self::Enosys => "ENOSYS",
            Self::Einval => "EINVAL",
            Self::Enotty => "ENOTTY",
        }
    }
}

/// Which 32 bits of an argument a test looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Half {
    /// Bits 0 to 31: all the kernel reads of an `int`.
    Low,
    /// Bits 32 to 63.
    High,
}

/// One 32-bit half of one argument, the unit in which a filter reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    argument: u8,
    half: Half,
}

impl Word {
    /// A half of the argument at this position.
    pub(crate) const fn new(argument: u8, half: Half) -> Self {
        Self { argument, half }
    }

    /// The argument's position, 0 to 5.
    #[must_use]
    pub const fn argument(self) -> u8 {
        self.argument
    }

    /// Its half.
    #[must_use]
    pub const fn half(self) -> Half {
        self.half
    }

    fn of(self, arguments: &[u64; 6]) -> u32 {
        let argument = arguments.get(usize::from(self.argument)).copied().unwrap_or_default();
        let [a, b, c, d, e, f, g, h] = argument.to_le_bytes();
        match self.half {
            Half::Low => u32::from_le_bytes([a, b, c, d]),
            Half::High => u32::from_le_bytes([e, f, g, h]),
        }
    }
}

/// What a test asks of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// The word is this value.
    Equals(u32),
    /// The word's bits under the mask are this value.
    Masked {
        /// The bits looked at.
        mask: u32,
        /// What they must be.
        value: u32,
    },
    /// The word lies between the two, both included.
    Within {
        /// The least value.
        low: u32,
        /// The greatest value.
        high: u32,
    },
}

/// One test of one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    /// What is looked at.
    pub word: Word,
    /// What must hold.
    pub condition: Condition,
}

impl Test {
    fn holds(&self, arguments: &[u64; 6]) -> bool {
        let word = self.word.of(arguments);
        match self.condition {
            Condition::Equals(value) => word == value,
            Condition::Masked { mask, value } => word & mask == value,
            Condition::Within { low, high } => (low..=high).contains(&word),
        }
    }
}

/// An alternative of a rule: its action, taken when all its tests hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arm {
    /// At least one, at most four.
    pub tests: Cow<'static, [Test]>,
    /// What happens then.
    pub action: Action,
}

/// Everything the profile says of one system call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The kernel's number on the profile's architecture.
    pub number: u32,
    /// The kernel's name.
    pub name: &'static str,
    /// Tried in order; the first that matches decides.
    pub arms: Cow<'static, [Arm]>,
    /// What happens when no arm matches.
    pub otherwise: Action,
}

impl Rule {
    fn decide(&self, arguments: &[u64; 6]) -> Action {
        let matching = self.arms.iter().find(|arm| arm.tests.iter().all(|test| test.holds(arguments)));
        matching.map_or(self.otherwise, |arm| arm.action)
    }
}

/// The rules for one architecture, sorted by number, each number at most once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    architecture: Architecture,
    rules: Cow<'static, [Rule]>,
}

impl Profile {
    /// A profile whose rules are sorted already: made by the build from the text.
    pub(crate) const fn of_static(architecture: Architecture, rules: &'static [Rule]) -> Self {
        Self { architecture, rules: Cow::Borrowed(rules) }
    }

    /// Reads a profile and keeps what concerns `architecture`.
    ///
    /// # Errors
    /// Names the first line that is not exactly a rule, and why.
    pub fn parse(text: &str, architecture: Architecture) -> Result<Self, Malformed> {
        let mut rules: Vec<Rule> = Vec::with_capacity(NUMBERS.len());
        let mut open: Option<Open> = None;
        for (line, content) in (1..).zip(text.lines()) {
            let at_line = |problem| Malformed { line, problem };
            let previous = open.as_ref().map(|started| started.numbered);
            let Some(statement) = Statement::parse(content, previous).map_err(at_line)? else {
                continue;
            };
            let arms = match open.take() {
                Some(started) if std::ptr::eq(started.numbered, statement.numbered) => started.arms,
                Some(started) => {
                    return Err(Malformed { line: started.line, problem: Problem::OpenEnded });
                }
                None => Vec::new(),
            };
            match statement.into_rule(arms, line) {
                Continued::Open(unfinished) => open = Some(unfinished),
                Continued::Closed { numbered, arms, otherwise } => {
                    if let Some(number) = architecture.number(numbered) {
                        rules.push(Rule { number, name: numbered.name, arms: arms.into(), otherwise });
                    }
                }
            }
        }
        if let Some(started) = open {
            return Err(Malformed { line: started.line, problem: Problem::OpenEnded });
        }
        rules.sort_unstable_by_key(|rule| rule.number);
        match rules.array_windows().find(|[first, second]| first.number == second.number) {
            Some([first, _]) => Err(Malformed { line: 0, problem: Problem::Twice(first.name) }),
            None => Ok(Self { architecture, rules: rules.into() }),
        }
    }

    /// The same profile for a run without a cgroup: no memory that belongs to no process.
    ///
    /// A watchdog adds up the memory of processes. Detached System V segments, queued messages and
    /// enlarged socket buffers are the kernel's, and only a cgroup counts them.
    #[must_use]
    pub fn watched(self) -> Self {
        let mut rules = self.rules.into_owned();
        for rule in &mut rules {
            match rule.name {
                "shmget" | "msgget" => {
                    rule.arms = Cow::Borrowed(&[]);
                    rule.otherwise = Action::Errno(Errno::Enosys);
                }
                "setsockopt" => rule.arms = socket_buffers().chain(rule.arms.iter().cloned()).collect(),
                _ => {}
            }
        }
        Self { architecture: self.architecture, rules: rules.into() }
    }

    /// The same with the rules of some calls changed; none is added.
    #[must_use]
    pub(crate) fn with(self, changes: &[Rule]) -> Self {
        let mut rules = self.rules.into_owned();
        for rule in &mut rules {
            if let Some(change) = changes.iter().find(|change| change.number == rule.number) {
                rule.clone_from(change);
            }
        }
        Self { architecture: self.architecture, rules: rules.into() }
    }

    /// The architecture whose numbers the rules carry.
    #[must_use]
    pub const fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The rules, sorted by number.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The name of a system call that has a rule, for the report.
    #[must_use]
    pub fn name(&self, number: u32) -> Option<&'static str> {
        self.rule(number).map(|rule| rule.name)
    }

    /// What happens to this call: the meaning that every compiled filter must have.
    #[must_use]
    pub fn decide(&self, number: u32, arguments: &[u64; 6]) -> Action {
        if self.architecture == Architecture::X86_64 && X32_NUMBERS.contains(&number) {
            return Action::Kill;
        }
        self.rule(number).map_or(Action::Errno(Errno::Enosys), |rule| rule.decide(arguments))
    }

    fn rule(&self, number: u32) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.number == number)
    }
}

/// A stable summary: how many calls get which action, and which.
impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "system calls on {}: {} named", self.architecture, self.rules.len())?;
        let (plain, conditional): (Vec<_>, Vec<_>) = self.rules.iter().partition(|rule| rule.arms.is_empty());
        let mut actions: Vec<Action> = plain.iter().map(|rule| rule.otherwise).collect();
        actions.sort_unstable();
        actions.dedup();
        for action in actions {
            let names = plain.iter().filter(|rule| rule.otherwise == action).map(|rule| rule.name);
            write_names(formatter, &action.to_string(), names.collect())?;
        }
        write_names(formatter, "by argument", conditional.iter().map(|rule| rule.name).collect())?;
        formatter.write_str("  any other number: errno ENOSYS; another architecture, x32: kill\n")
    }
}

/// SO_SNDBUF, SO_RCVBUF and their FORCE kin at SOL_SOCKET (socket(7)).
fn socket_buffers() -> impl Iterator<Item = Arm> {
    let word = |argument| Word::new(argument, Half::Low);
    let level = Test { word: word(1), condition: Condition::Equals(1) };
    [(7, 8), (32, 33)].into_iter().map(move |(low, high)| Arm {
        tests: vec![level, Test { word: word(2), condition: Condition::Within { low, high } }].into(),
        action: Action::Errno(Errno::Eperm),
    })
}

fn write_names(formatter: &mut fmt::Formatter<'_>, title: &str, mut names: Vec<&str>) -> fmt::Result {
    names.sort_unstable();
    writeln!(formatter, "  {title} ({})", names.len())?;
    let mut column = 0;
    for name in names {
        if column > 0 && column + 1 + name.len() > SUMMARY_COLUMNS {
            formatter.write_str("\n")?;
            column = 0;
        }
        let gap = if column == 0 { "    " } else { " " };
        write!(formatter, "{gap}{name}")?;
        column += gap.len() + name.len();
    }
    if column > 0 { formatter.write_str("\n") } else { Ok(()) }
}

/// A line of a profile that is not exactly a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    line: usize,
    problem: Problem,
}

impl Malformed {
    /// What to do about it.
    #[must_use]
    pub const fn next(&self) -> &'static str {
        "the head of `profiles/seccomp.txt` describes a rule"
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("system-call profile")?;
        if self.line > 0 {
            write!(formatter, ", line {}", self.line)?;
        }
        write!(formatter, ": {}", self.problem)
    }
}

impl std::error::Error for Malformed {}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Problem {
    NoReason,
    Action(String),
    Name(String),
    Marker(&'static str),
    Tests(String),
    TooManyTests,
    OpenEnded,
    Twice(&'static str),
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReason => formatter.write_str("no `; reason` at the end of the rule"),
            Self::Action(word) => write!(formatter, "`{}` is not an action", word.escape_debug()),
            Self::Name(word) => write!(formatter, "`{}` is not a system call of Linux 6.18", word.escape_debug()),
            Self::Marker(name) => {
                write!(formatter, "`on x86_64` must stand where, and only where, aarch64 lacks the call: `{name}`")
            }
            Self::Tests(rule) => write!(formatter, "`{}` has no tests as they should be", rule.escape_debug()),
            Self::TooManyTests => write!(formatter, "more than {TESTS_MAX} tests in one line"),
            Self::OpenEnded => formatter.write_str("the last rule of a call must have no test"),
            Self::Twice(name) => write!(formatter, "two unconditional rules for `{name}`, or its rules stand apart"),
        }
    }
}

/// A call whose rules so far all have tests.
struct Open {
    numbered: &'static Numbered,
    arms: Vec<Arm>,
    line: usize,
}

enum Continued {
    Open(Open),
    Closed { numbered: &'static Numbered, arms: Vec<Arm>, otherwise: Action },
}

/// One line that is a rule.
struct Statement {
    numbered: &'static Numbered,
    tests: Vec<Test>,
    action: Action,
}

impl Statement {
    /// `previous` is the call whose rules are not complete yet: most likely this line's too.
    fn parse(line: &str, previous: Option<&'static Numbered>) -> Result<Option<Self>, Problem> {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with('#') {
            return Ok(None);
        }
        let (rule, reason) = line.split_once(';').ok_or(Problem::NoReason)?;
        if reason.trim_ascii_start().is_empty() {
            return Err(Problem::NoReason);
        }
        let rule = rule.trim_ascii_end();
        let mut words = rule.split_ascii_whitespace();
        let action = parse_action(&mut words)?;
        let name = words.next().unwrap_or_default();
        let numbered = match previous {
            Some(numbered) if numbered.name == name => numbered,
            _ => parse_name(name)?,
        };
        let mut next = words.next();
        let marked = next == Some("on");
        if marked {
            let right = words.next() == Some("x86_64") && numbered.x86_64.is_some();
            next = if right {
                words.next()
            } else {
                return Err(Problem::Marker(numbered.name));
            };
        }
        if marked != numbered.aarch64.is_none() {
            return Err(Problem::Marker(numbered.name));
        }
        let tests = match next {
            None => Vec::new(),
            Some("if") => parse_tests(words).ok_or_else(|| Problem::Tests(rule.to_owned()))?,
            Some(_) => return Err(Problem::Tests(rule.to_owned())),
        };
        if tests.len() > TESTS_MAX {
            return Err(Problem::TooManyTests);
        }
        Ok(Some(Self { numbered, tests, action }))
    }

    fn into_rule(self, mut arms: Vec<Arm>, line: usize) -> Continued {
        let Self { numbered, tests, action } = self;
        if tests.is_empty() {
            return Continued::Closed { numbered, arms, otherwise: action };
        }
        arms.push(Arm { tests: tests.into(), action });
        Continued::Open(Open { numbered, arms, line })
    }
}

fn parse_action<'t>(words: &mut impl Iterator<Item = &'t str>) -> Result<Action, Problem> {
    let unknown = |word: &str| Problem::Action(word.to_owned());
    match words.next().unwrap_or_default() {
        "allow" => Ok(Action::Allow),
        "refuse" => Ok(Action::Errno(Errno::Eperm)),
        "tell" => Ok(Action::Tell),
        "errno" => {
            let name = words.next().unwrap_or_default();
            let errno = Errno::ALL.into_iter().find(|errno| errno.name() == name);
            errno.map(Action::Errno).ok_or_else(|| unknown(name))
        }
        word => Err(unknown(word)),
    }
}

fn parse_name(word: &str) -> Result<&'static Numbered, Problem> {
    Numbered::find(word).ok_or_else(|| Problem::Name(word.to_owned()))
}

/// Tests joined by `and`, to the end of the rule; `None` if any word is out of place.
fn parse_tests<'t>(mut words: impl Iterator<Item = &'t str>) -> Option<Vec<Test>> {
    let mut tests = Vec::with_capacity(1);
    loop {
        tests.push(parse_test(&mut words)?);
        match words.next() {
            Some("and") => {}
            Some(_) => return None,
            None => return Some(tests),
        }
    }
}

fn parse_test<'t>(words: &mut impl Iterator<Item = &'t str>) -> Option<Test> {
    let word = parse_word(words.next()?)?;
    let condition = match words.next()? {
        "==" => Condition::Equals(parse_number(words.next()?)?),
        "in" => parse_range(words.next()?)?,
        "&" => {
            let mask = words.next()?;
            let value = words.next().filter(|word| *word == "==").and_then(|_| words.next())?;
            parse_masked(mask, value)?
        }
        _ => return None,
    };
    Some(Test { word, condition })
}

fn parse_word(text: &str) -> Option<Word> {
    let (name, half) = match text.strip_suffix(".high") {
        Some(name) => (name, Half::High),
        None => (text, Half::Low),
    };
    let argument = match name {
        "arg0" => 0,
        "arg1" => 1,
        "arg2" => 2,
        "arg3" => 3,
        "arg4" => 4,
        "arg5" => 5,
        _ => return None,
    };
    Some(Word { argument, half })
}

/// A value with bits outside its mask could never be met: a slip, so not a test.
fn parse_masked(mask: &str, value: &str) -> Option<Condition> {
    let (mask, value) = (parse_number(mask)?, parse_number(value)?);
    (value & !mask == 0).then_some(Condition::Masked { mask, value })
}

fn parse_range(text: &str) -> Option<Condition> {
    let (low, high) = text.split_once("..=")?;
    let (low, high) = (parse_number(low)?, parse_number(high)?);
    (low < high).then_some(Condition::Within { low, high })
}

fn parse_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.split_at_checked(2) {
        Some(("0x", digits)) => (digits, 16),
        Some(("0o", digits)) => (digits, 8),
        _ => (text, 10),
    };
    // `from_str_radix` would take a sign.
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if plain { u32::from_str_radix(digits, radix).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EPERM: Action = Action::Errno(Errno::Eperm);
    const ENOSYS: Action = Action::Errno(Errno::Enosys);

    fn builtin() -> Profile {
        Profile::builtin(Architecture::X86_64)
    }

    fn number(name: &str) -> u32 {
        parse_name(name).unwrap().x86_64.unwrap()
    }

    fn decide(name: &str, arguments: [u64; 6]) -> Action {
        builtin().decide(number(name), &arguments)
    }

    fn problem(text: &str) -> String {
        Profile::parse(text, Architecture::X86_64).unwrap_err().to_string()
    }

    #[test]
    fn the_table_is_sorted_and_has_no_holes() {
        assert!(NUMBERS.is_sorted_by(|first, second| first.name < second.name));
        let mut x86_64: Vec<u32> = NUMBERS.iter().filter_map(|numbered| numbered.x86_64).collect();
        x86_64.sort_unstable();
        assert_eq!(x86_64, (0..=336).chain(424..=469).collect::<Vec<_>>());
        let mut aarch64: Vec<u32> = NUMBERS.iter().filter_map(|numbered| numbered.aarch64).collect();
        aarch64.sort_unstable();
        assert_eq!(aarch64, (0..=243).chain(260..=294).chain(424..=469).collect::<Vec<_>>());
    }

    #[test]
    fn every_system_call_of_linux_6_18_has_a_rule() {
        for architecture in [Architecture::X86_64, Architecture::Aarch64] {
            let profile = Profile::builtin(architecture);
            for numbered in NUMBERS {
                assert!(std::ptr::eq(Numbered::find(numbered.name).unwrap(), numbered));
                let named = architecture.number(numbered).map(|number| profile.name(number));
                assert!(named.is_none_or(|name| name == Some(numbered.name)), "{}", numbered.name);
            }
        }
    }

    #[test]
    fn the_summary_is_stable() {
        let profile = builtin();
        let summary = profile.to_string();
        assert_eq!(summary, builtin().to_string());
        assert!(summary.lines().all(|line| line.len() <= SUMMARY_COLUMNS + 4));
        for rule in profile.rules() {
            assert!(summary.split_whitespace().any(|word| word == rule.name), "{}", rule.name);
        }
        println!("{summary}");
    }

    #[test]
    fn namespaces_are_refused_whatever_the_upper_bits_say() {
        assert_eq!(decide("clone", [0x0100_0011, 0, 0, 0, 0, 0]), Action::Allow);
        for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
            assert_eq!(decide("clone", [flag | 17, 0, 0, 0, 0, 0]), Action::Tell);
            assert_eq!(decide("clone", [flag | 1 << 63, 0, 0, 0, 0, 0]), Action::Tell);
        }
        assert_eq!(decide("clone3", [0; 6]), ENOSYS);
        assert_eq!(decide("unshare", [0; 6]), Action::Tell);
        assert_eq!(decide("setns", [0; 6]), Action::Tell);
    }

    #[test]
    fn no_set_id_file_can_be_made() {
        const CREATE: u64 = 0x41;
        for mode in [0o4755, 0o2755, 0o6755, 0o4755 | 1 << 32] {
            assert_eq!(decide("open", [0, CREATE, mode, 0, 0, 0]), Action::Tell);
            assert_eq!(decide("openat", [0, 0, CREATE, mode, 0, 0]), Action::Tell);
            assert_eq!(decide("openat", [0, 0, 0x41_0002, mode, 0, 0]), Action::Tell, "O_TMPFILE");
            assert_eq!(decide("openat", [0, 0, 2, mode, 0, 0]), Action::Allow, "mode is garbage");
            assert_eq!(decide("creat", [0, mode, 0, 0, 0, 0]), Action::Tell);
            assert_eq!(decide("chmod", [0, mode, 0, 0, 0, 0]), Action::Tell);
            assert_eq!(decide("fchmod", [0, mode, 0, 0, 0, 0]), Action::Tell);
            assert_eq!(decide("fchmodat", [0, 0, mode, 0, 0, 0]), Action::Tell);
            assert_eq!(decide("fchmodat2", [0, 0, mode, 0, 0, 0]), Action::Tell);
            for kind in [0, 0o10_0000, 0o01_0000] {
                assert_eq!(decide("mknod", [0, kind | mode, 0, 0, 0, 0]), Action::Tell);
                assert_eq!(decide("mknodat", [0, 0, kind | mode, 0, 0, 0]), Action::Tell);
            }
        }
        assert_eq!(decide("openat", [0, 0, CREATE, 0o1777, 0, 0]), Action::Allow);
        assert_eq!(decide("openat2", [0; 6]), ENOSYS);
    }

    #[test]
    fn no_device_can_be_made() {
        for kind in [0o02_0000, 0o06_0000, 0o16_0000] {
            assert_eq!(decide("mknod", [0, kind | 0o644, 0, 0, 0, 0]), Action::Tell);
            assert_eq!(decide("mknodat", [0, 0, kind | 0o644, 0, 0, 0]), Action::Tell);
        }
        for kind in [0, 0o10_0000, 0o01_0000, 0o14_0000] {
            assert_eq!(decide("mknod", [0, kind | 0o644, 0, 0, 0, 0]), Action::Allow);
        }
        assert_eq!(decide("renameat2", [0, 0, 0, 0, 4, 0]), EPERM, "a whiteout is a device");
        assert_eq!(decide("renameat2", [0, 0, 0, 0, 3, 0]), Action::Allow);
    }

    #[test]
    fn only_plain_sockets_are_made() {
        let socket = |family, kind, protocol| decide("socket", [family, kind, protocol, 0, 0, 0]);
        for (family, kind, protocol) in [(1, 1, 0), (1, 2, 0), (1, 5, 0), (2, 1, 0), (2, 1, 6), (10, 2, 17)] {
            assert_eq!(socket(family, kind, protocol), Action::Allow);
            assert_eq!(socket(family, kind | 0x8_0800, protocol), Action::Allow);
            assert_eq!(socket(family | 1 << 32, kind | 1 << 40, protocol), Action::Allow);
        }
        assert_eq!(socket(16, 3, 0), Action::Errno(Errno::Einval), "netlink is refused without a word");
        assert_eq!(socket(2, 1, 262), EPERM, "as is multipath TCP");
        for (family, kind, protocol) in
            [(2, 3, 1), (2, 2, 1), (10, 3, 58), (17, 3, 0), (40, 1, 0), (38, 5, 0), (44, 3, 0)]
        {
            assert_eq!(socket(family, kind, protocol), Action::Tell);
        }
        assert_eq!(decide("socketpair", [2, 1, 0, 0, 0, 0]), Action::Tell);
    }

    #[test]
    fn terminals_cannot_be_typed_into() {
        for request in [0x5412, 0x5412 | 1 << 32, 0x541c, 0x541d, 0x5423, 0x8914, 0x8946] {
            assert_eq!(decide("ioctl", [0, request, 0, 0, 0, 0]), EPERM);
        }
        for request in [0x5401, 0x5413, 0x5421, 0x541b, 0x8933] {
            assert_eq!(decide("ioctl", [0, request, 0, 0, 0, 0]), Action::Allow);
        }
        assert_eq!(decide("ioctl", [0, 0xdead_beef, 0, 0, 0, 0]), Action::Errno(Errno::Enotty));
    }

    #[test]
    fn limits_of_others_can_be_read_but_not_set() {
        assert_eq!(decide("prlimit64", [0, 7, 0xdead, 0, 0, 0]), Action::Allow);
        assert_eq!(decide("prlimit64", [1, 7, 0, 0xdead, 0, 0]), Action::Allow);
        assert_eq!(decide("prlimit64", [1, 7, 0xdead, 0, 0, 0]), EPERM);
        assert_eq!(decide("prlimit64", [1, 7, 0xdead << 32, 0, 0, 0]), EPERM);
    }

    /// A guard that no attack inside stands for: what a watchdog cannot see is refused.
    #[test]
    fn without_a_cgroup_no_memory_is_had_that_no_process_owns() {
        let decide = |profile: &Profile, name: &str, arguments| profile.decide(number(name), &arguments);
        let (full, watched) = (builtin(), builtin().watched());
        for name in ["shmget", "msgget"] {
            assert_eq!(decide(&full, name, [0; 6]), Action::Allow);
            assert_eq!(decide(&watched, name, [0; 6]), Action::Errno(Errno::Enosys));
        }
        for buffer in [7, 8, 32, 33] {
            assert_eq!(decide(&full, "setsockopt", [3, 1, buffer, 0, 4, 0]), Action::Allow);
            assert_eq!(decide(&watched, "setsockopt", [3, 1, buffer, 0, 4, 0]), EPERM);
        }
        assert_eq!(decide(&watched, "setsockopt", [3, 1, 2, 0, 4, 0]), Action::Allow);
    }

    #[test]
    fn unknown_numbers_answer_as_an_older_kernel_and_x32_ends_the_process() {
        let profile = builtin();
        for number in [337, 423, 470, 0x3fff_ffff, 0x8000_0000, u32::MAX] {
            assert_eq!(profile.decide(number, &[0; 6]), ENOSYS);
        }
        for number in [0x4000_0000, 0x4000_0000 + 59, 0x7fff_ffff] {
            assert_eq!(profile.decide(number, &[0; 6]), Action::Kill);
        }
        let aarch64 = Profile::builtin(Architecture::Aarch64);
        assert_eq!(aarch64.decide(0x4000_0000, &[0; 6]), ENOSYS);
        assert_eq!(aarch64.decide(220, &[0x1000_0000, 0, 0, 0, 0, 0]), Action::Tell, "clone");
    }

    #[test]
    fn a_line_that_is_not_exactly_a_rule_is_named() {
        assert_eq!(problem("allow read"), "system-call profile, line 1: no `; reason` at the end of the rule");
        assert_eq!(problem("\nallow read ; "), "system-call profile, line 2: no `; reason` at the end of the rule");
        assert!(problem("permit read ; x").contains("`permit` is not an action"));
        assert!(problem("errno EBADF read ; x").contains("`EBADF` is not an action"));
        assert!(problem("allow re\u{1b}ad ; x").contains(r"`re\u{1b}ad` is not a system call"));
        assert!(problem("allow open ; x").contains("`on x86_64` must stand"));
        assert!(problem("allow read on x86_64 ; x").contains("`on x86_64` must stand"));
        assert!(problem("allow open on mips ; x").contains("`on x86_64` must stand"));
        assert!(problem("allow read when ; x").contains("`allow read when` has no tests as they should be"));
        for test in ["", "arg6 == 0", "arg0 = 0", "arg0 == -1", "arg0 == +1", "arg0 == 0x1ffffffff", "arg0 in 3..=2"] {
            assert!(
                problem(&format!("allow read if {test} ; x\nallow read ; x"))
                    .contains("has no tests as they should be"),
                "{test}"
            );
        }
        assert!(problem("allow read if arg0 & 0x1 == 2 ; x").contains("has no tests as they should be"), "never met");
        assert!(problem("allow read if arg0 == 1 and ; x").contains("has no tests as they should be"));
        let five = ["arg0 == 1"; 5].join(" and ");
        assert!(problem(&format!("allow read if {five} ; x")).contains("more than 4 tests"));
        assert!(problem("allow read if arg0 == 1 ; x").contains("line 1: the last rule of a call"));
        assert!(problem("allow read if arg0 == 1 ; x\nallow write ; x").contains("line 1: the last rule"));
        assert!(problem("allow read ; x\ntell read ; x").contains("two unconditional rules for `read`"));
    }

    #[test]
    fn the_first_line_that_holds_decides() {
        let text =
            "tell read if arg1 in 2..=4 and arg5.high == 1 ; x\nrefuse read if arg1 & 6 == 2 ; y\nallow read ; z";
        let profile = Profile::parse(text, Architecture::X86_64).unwrap();
        assert_eq!(profile.decide(0, &[0, 3, 0, 0, 0, 1 << 32]), Action::Tell);
        assert_eq!(profile.decide(0, &[0, 3, 0, 0, 0, 1]), EPERM);
        assert_eq!(profile.decide(0, &[0, 4, 0, 0, 0, 1]), Action::Allow);
        assert_eq!(profile.decide(1, &[0; 6]), ENOSYS);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(allow|tell|errno|read|open|on|x86_64|if|and|==|&|in|arg0|0x|1|\\.\\.=|;|#|\\s|\\PC){0,40}") {
            let parsed = Profile::parse(&text, Architecture::X86_64);
            if let Err(malformed) = parsed {
                prop_assert!(!malformed.to_string().chars().any(char::is_control));
            }
        }
    }
}

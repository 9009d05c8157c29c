//! Entries of trusted hosts.
#![no_main]

use libfuzzer_sys::fuzz_target;
use stockade_config::security::HostForm;
use stockade_config::security::hosts::{Wide, parse};

fuzz_target!(|text: &str| {
    let narrow = parse(text, Wide::Refused);
    if let Ok(entry) = &narrow {
        assert!(parse(text, Wide::Acknowledged).is_ok(), "it is refused where more is taken");
        if let HostForm::Block(block) = &entry.form {
            let least = if block.addr().is_ipv4() { 8 } else { 32 };
            assert!(block.prefix_len() >= least && block.trunc() == *block, "{block}");
        }
    }
    if let Ok(entry) = parse(text, Wide::Acknowledged)
        && let HostForm::Block(block) = &entry.form
    {
        assert!(block.prefix_len() > 0, "everybody");
    }
});

//! `list`, `doctor`, `bind` and `unbind` on whatever machine the tests run on, which they leave as it is.

use std::process::Command;

use serde_json::Value;

use crate::scratch::{Scratch, error_line, succeed};

/// A function on a bus that there is not.
const ABSENT: &str = "7ffffffe:00:04.0";

fn dmaring(scratch: &Scratch, line: &str) -> Command {
    let mut command = scratch.command();
    command.args(line.split_whitespace());
    command
}

fn json(command: &mut Command) -> Value {
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

#[test]
fn list_ends_well_whatever_there_is() {
    let scratch = Scratch::on_disk();
    let text = succeed(&mut dmaring(&scratch, "list"));
    let inventory = json(&mut dmaring(&scratch, "list --json"));
    for (name, header, absence, key) in [
        ("functions", "I/OAT FUNCTION", "no I/OAT functions", "address"),
        ("devices", "DEVDAX DEVICE", "no devdax devices", "name"),
        ("namespaces", "OTHER NAMESPACE", "", "name"),
    ] {
        let rows = inventory[name].as_array().unwrap();
        let begins = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
        assert_eq!(begins(header), usize::from(!rows.is_empty()), "{header}: {text}");
        if !absence.is_empty() {
            assert_eq!(begins(absence), usize::from(rows.is_empty()), "{absence}: {text}");
        }
        for row in rows {
            assert_eq!(begins(&format!("{} ", row[key].as_str().unwrap())), 1, "{row}: {text}");
        }
    }
    assert_eq!(inventory["unlisted"].as_array().unwrap().len(), 0);
}

#[test]
fn doctor_says_of_every_check_how_it_stands_and_fails_if_one_does() {
    let scratch = Scratch::on_disk();
    let diagnosis = json(&mut dmaring(&scratch, "doctor --json"));
    let findings = diagnosis["findings"].as_array().unwrap();
    let count = |state| findings.iter().filter(|finding| finding["state"] == state).count();
    let output = dmaring(&scratch, "doctor").output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(text.lines().count(), findings.len() + 1, "{text}");
    for check in ["kernel: ", "cpus: ", "iommu: ", "vfio_pci module: ", "I/OAT functions: "] {
        assert!(text.contains(check), "{check:?} is not in {text}");
    }
    for finding in findings {
        let mended = finding["remedy"].is_string();
        assert_eq!(mended, finding["state"] == "fail" || finding["state"] == "warn", "{finding}");
    }
    if count("fail") == 0 {
        assert_eq!(output.status.code(), Some(0));
    } else {
        assert!(error_line(&output, 1, "ok ").contains("checks failed"));
    }
}

#[test]
fn doctor_fails_for_what_is_not_there_and_names_it() {
    let scratch = Scratch::on_disk();
    let output = dmaring(&scratch, &format!("doctor {ABSENT} /dev/dax9876.5")).output().unwrap();
    error_line(&output, 1, "ok ");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [ABSENT, "dax9876.5", "no such I/OAT function", "`dmaring list`"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

#[test]
fn binding_what_is_no_function_is_refused() {
    let scratch = Scratch::on_disk();
    for verb in ["bind", "unbind"] {
        for (arguments, parts) in [
            (ABSENT, &["no PCI function", ABSENT, "`dmaring list`"] as &[&str]),
            ("warp", &["'warp'", "lspci -D", "0000:00:04.0"]),
            ("", &["<BDF>...", "--help"]),
            ("--force 0000:00:04.0", &["--force", "--help"]),
        ] {
            let message = scratch.refuse(&mut dmaring(&scratch, &format!("{verb} {arguments}")));
            for part in parts {
                assert!(message.contains(part), "{verb} {arguments}: {part:?} is not in {message}");
            }
        }
    }
    let message = scratch.refuse(&mut dmaring(&scratch, "doctor /dev/null"));
    assert!(message.contains("/dev/daxX.Y"), "{message}");
}

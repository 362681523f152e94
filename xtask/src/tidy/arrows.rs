//! Which crate may depend on which. The picture is in `docs/architecture.md`; this is its table.

use super::{Finding, members::Member};

/// What one package may depend on.
#[derive(Debug)]
struct Rule {
    package: &'static str,
    /// Packages of the workspace.
    ours: Ours,
    /// Packages of the workspace, for tests only, besides `ours`.
    tests: &'static [&'static str],
    /// Packages from elsewhere. Tests may have any.
    others: Others,
}

#[derive(Debug)]
enum Ours {
    Any,
    Only(&'static [&'static str]),
}

#[derive(Debug)]
enum Others {
    Any,
    Only(&'static [&'static str]),
    AnyBut(&'static [&'static str]),
}

/// Futures, wakers and executors: nothing that a driver knows.
const ASYNCHRONOUS: &[&str] = &["async-io", "futures", "futures-core", "smol", "tokio"];

/// What would tie the runtime to one executor, or to a kind of device.
const TIES: &[&str] =
    &["async-io", "smol", "tokio", "vfio-bindings", "vfio-ioctls", "virtio-queue", "vm-memory"];

/// What changes or does not build under `--cfg loom`: crates with loom tests have it for other builds only.
const NOT_UNDER_LOOM: &[&str] = &["smol", "tokio"];

const RULES: &[Rule] = &[
    Rule {
        package: "dmaring-engine",
        ours: Ours::Only(&[]),
        tests: &[],
        others: Others::Only(&[]),
    },
    Rule {
        package: "dmaring-ring",
        ours: Ours::Only(&[]),
        tests: &[],
        others: Others::Only(&["bitflags", "loom"]),
    },
    Rule {
        package: "dmaring-cpu",
        ours: Ours::Only(&["dmaring-engine"]),
        tests: &[],
        others: Others::AnyBut(ASYNCHRONOUS),
    },
    Rule {
        package: "dmaring-ioat-spec",
        ours: Ours::Only(&[]),
        tests: &[],
        others: Others::Only(&["bitflags", "zerocopy"]),
    },
    Rule {
        package: "dmaring-driver",
        ours: Ours::Only(&["dmaring-engine", "dmaring-ioat-spec"]),
        tests: &[],
        others: Others::AnyBut(ASYNCHRONOUS),
    },
    // Written from the specification and never from the driver: two readings of one datasheet must meet.
    Rule {
        package: "dmaring-emulated",
        ours: Ours::Only(&["dmaring-engine", "dmaring-ioat-spec"]),
        // Tests have it decode what the model says: neither is written from the other.
        tests: &["dmaring-driver"],
        others: Others::AnyBut(ASYNCHRONOUS),
    },
    Rule {
        package: "dmaring-manual",
        ours: Ours::Only(&["dmaring-engine"]),
        tests: &[],
        others: Others::AnyBut(ASYNCHRONOUS),
    },
    Rule {
        package: "dmaring",
        ours: Ours::Only(&["dmaring-engine", "dmaring-ring"]),
        tests: &[
            "dmaring-cpu",
            "dmaring-driver",
            "dmaring-emulated",
            "dmaring-ioat-spec",
            "dmaring-manual",
        ],
        others: Others::AnyBut(TIES),
    },
    Rule { package: "dmaring-cli", ours: Ours::Any, tests: &[], others: Others::Any },
    Rule { package: "dmaring-examples", ours: Ours::Any, tests: &[], others: Others::Any },
    Rule { package: "dmaring-benches", ours: Ours::Any, tests: &[], others: Others::Any },
    Rule { package: "dmaring-soak", ours: Ours::Any, tests: &[], others: Others::Any },
    Rule { package: "xtask", ours: Ours::Only(&[]), tests: &[], others: Others::Any },
];

/// Holds every member's dependencies against the table.
pub(super) fn check(members: &[Member]) -> Vec<Finding> {
    let unknown = members.iter().filter(|member| rule(member).is_none()).map(|member| {
        let name = &member.name;
        let message = format!("package {name} has no rule: add one to xtask/src/tidy/arrows.rs");
        Finding::of(&member.manifest, message)
    });
    let stale = RULES
        .iter()
        .filter(|rule| members.iter().all(|member| member.name != rule.package))
        .map(|rule| {
            let message = format!("a rule for package {}, which there is not", rule.package);
            Finding::of("xtask/src/tidy/arrows.rs", message)
        });
    let broken = members
        .iter()
        .filter_map(|member| Some((member, rule(member)?)))
        .flat_map(|(member, rule)| broken(member, rule).into_iter());
    unknown.chain(stale).chain(broken).collect()
}

fn rule(member: &Member) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.package == member.name)
}

fn broken(member: &Member, rule: &Rule) -> Vec<Finding> {
    let mut findings = Vec::new();
    for dependency in &member.dependencies {
        let name = dependency.name.as_str();
        let allowed = match (dependency.ours, dependency.development) {
            (true, development) => match rule.ours {
                Ours::Any => true,
                Ours::Only(names) => {
                    names.contains(&name) || development && rule.tests.contains(&name)
                }
            },
            (false, true) => true,
            (false, false) => match rule.others {
                Others::Any => true,
                Others::Only(names) => names.contains(&name),
                Others::AnyBut(names) => !names.contains(&name),
            },
        };
        let kind = if dependency.development { "in its tests" } else { "in its code" };
        if !allowed {
            let message = format!("{} must not depend on {name} {kind}", member.name);
            findings.push(Finding::of(&member.manifest, message));
        }
        if name == "loom" && dependency.target.as_deref() != Some("cfg(loom)") {
            let message = format!("{} may have loom for target cfg(loom) only", member.name);
            findings.push(Finding::of(&member.manifest, message));
        }
        let has_loom = member.dependencies.iter().any(|dependency| dependency.name == "loom");
        let not_loom = dependency.target.as_deref() == Some("cfg(not(loom))");
        if has_loom && NOT_UNDER_LOOM.contains(&name) && !not_loom {
            let message = format!("{} may have {name} for target cfg(not(loom)) only", member.name);
            findings.push(Finding::of(&member.manifest, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{RULES, check};
    use crate::tidy::members::{Dependency, Member};

    fn workspace() -> Vec<Member> {
        let mut members: Vec<_> = RULES.iter().map(|rule| member(rule.package)).collect();
        add(&mut members, "dmaring", normal("dmaring-ring"));
        add(&mut members, "dmaring", normal("dmaring-engine"));
        add(&mut members, "dmaring", test("dmaring-cpu"));
        add(&mut members, "dmaring", test("tokio"));
        add(&mut members, "dmaring-cpu", normal("dmaring-engine"));
        add(&mut members, "dmaring-ring", normal("bitflags"));
        add(&mut members, "dmaring-cli", normal("tokio"));
        add(&mut members, "dmaring-cli", normal("dmaring-cpu"));
        let loom = Dependency { target: Some("cfg(loom)".to_owned()), ..normal("loom") };
        add(&mut members, "dmaring-ring", loom);
        members
    }

    fn member(name: &str) -> Member {
        let manifest = format!("{name}/Cargo.toml");
        Member { name: name.to_owned(), manifest, dependencies: Vec::new() }
    }

    fn normal(name: &str) -> Dependency {
        let ours = name.starts_with("dmaring");
        Dependency { name: name.to_owned(), ours, development: false, target: None }
    }

    fn test(name: &str) -> Dependency {
        Dependency { development: true, ..normal(name) }
    }

    fn add(members: &mut [Member], name: &str, dependency: Dependency) {
        let member = members.iter_mut().find(|member| member.name == name).unwrap();
        member.dependencies.push(dependency);
    }

    fn planted(name: &str, dependency: Dependency) -> Vec<String> {
        let mut members = workspace();
        add(&mut members, name, dependency);
        check(&members).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_allowed_arrows_pass() {
        assert_eq!(check(&workspace()), []);
    }

    #[test]
    fn each_forbidden_arrow_is_named() {
        for (name, dependency) in [
            ("dmaring", normal("dmaring-cpu")),
            ("dmaring", normal("tokio")),
            ("dmaring", normal("vfio-ioctls")),
            ("dmaring-engine", normal("libc")),
            ("dmaring-engine", test("dmaring-cpu")),
            ("dmaring-ring", normal("libc")),
            ("dmaring-ring", normal("dmaring-engine")),
            ("dmaring-cpu", normal("dmaring-ring")),
            ("dmaring-cpu", normal("futures-core")),
            ("dmaring-manual", test("dmaring")),
            ("xtask", normal("dmaring")),
        ] {
            let findings = planted(name, dependency.clone());
            let expected = format!("{name} must not depend on {}", dependency.name);
            assert_eq!(findings.len(), 1, "{findings:?}");
            assert!(findings[0].contains(&expected), "{findings:?}");
        }
    }

    #[test]
    fn loom_stays_out_of_ordinary_builds() {
        let findings = planted("dmaring-ring", test("tokio"));
        let message = "dmaring-ring may have tokio for target cfg(not(loom)) only";
        assert_eq!(findings, [format!("dmaring-ring/Cargo.toml:1: {message}")]);
        let other = Dependency { target: Some("cfg(not(loom))".to_owned()), ..test("tokio") };
        assert_eq!(planted("dmaring-ring", other), Vec::<String>::new());

        let mut members = workspace();
        add(&mut members, "dmaring-cpu", normal("loom"));
        let findings: Vec<_> = check(&members).iter().map(ToString::to_string).collect();
        let message = "dmaring-cpu may have loom for target cfg(loom) only";
        assert_eq!(findings, [format!("dmaring-cpu/Cargo.toml:1: {message}")]);
    }

    #[test]
    fn a_package_without_a_rule_and_a_rule_without_a_package_are_found() {
        let mut members = workspace();
        members.retain(|member| member.name != "dmaring-benches");
        members.push(member("dmaring-new"));
        let findings: Vec<_> = check(&members).iter().map(ToString::to_string).collect();
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(
            findings[0].contains("dmaring-new has no rule: add one to xtask/src/tidy/arrows.rs")
        );
        assert!(findings[1].contains("dmaring-benches, which there is not"));
    }
}

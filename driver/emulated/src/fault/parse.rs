//! Fault plans as text.

use std::str::FromStr;

use super::{Fault, FaultPlan, PlannedFault, When};

/// Why a text is no fault plan. The message names the part and the form it should have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultPlanError {
    /// A part that is none of those known.
    #[error(
        "`{part}` is no part of a fault: the form is WHEN:FAULT with WHEN one of nth=N and every=N, \
         optionally channel=C, and FAULT one of chanerr=BIT, short=BYTES, silent-short=BYTES, stall, \
         lost-writeback, duplicate-writeback, late-writeback=DESCRIPTORS and gone"
    )]
    UnknownPart {
        /// The part.
        part: String,
    },
    /// A value that is no number of its range.
    #[error("`{part}` has no valid value: the form is {form}")]
    Value {
        /// The part.
        part: String,
        /// What it should look like.
        form: &'static str,
    },
    /// An item with no part of a kind that it needs.
    #[error("`{item}` does not say {missing}: the form is WHEN:FAULT, as in nth=5:chanerr=8")]
    Missing {
        /// The item.
        item: String,
        /// What is not there.
        missing: &'static str,
    },
    /// An item with two parts of a kind.
    #[error("`{item}` says {twice} twice: separate faults with commas")]
    Twice {
        /// The item.
        item: String,
        /// What is there twice.
        twice: &'static str,
    },
}

const WHEN: &str = "when";
const CHANNEL: &str = "on which channel";
const FAULT: &str = "what happens";

enum Part {
    When(When),
    Channel(usize),
    Fault(Fault),
}

impl FromStr for FaultPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        if text.trim().is_empty() {
            return Ok(Self::new());
        }
        let items = text.split(',').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { items })
    }
}

impl FromStr for PlannedFault {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        let item = text.trim();
        let (mut when, mut channel, mut fault) = (None, None, None);
        for part in item.split(':') {
            let (twice, name) = match parse_part(part.trim())? {
                Part::When(value) => (when.replace(value).is_some(), WHEN),
                Part::Channel(value) => (channel.replace(value).is_some(), CHANNEL),
                Part::Fault(value) => (fault.replace(value).is_some(), FAULT),
            };
            if twice {
                return Err(FaultPlanError::Twice { item: item.to_owned(), twice: name });
            }
        }
        let missing = |missing| FaultPlanError::Missing { item: item.to_owned(), missing };
        Ok(Self {
            when: when.ok_or_else(|| missing(WHEN))?,
            channel,
            fault: fault.ok_or_else(|| missing(FAULT))?,
        })
    }
}

fn parse_part(part: &str) -> Result<Part, FaultPlanError> {
    let (name, value) =
        part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
    Ok(match (name, value) {
        ("nth", Some(value)) => Part::When(When::Nth(count(part, value, "nth=N, N from 1")?)),
        ("every", Some(value)) => Part::When(When::Every(count(part, value, "every=N, N from 1")?)),
        ("channel", Some(value)) => Part::Channel(number(part, value, "channel=C, C from 0")?),
        ("chanerr", Some(value)) => {
            let form = "chanerr=BIT, BIT from 0 to 31";
            let bit = number(part, value, form)?;
            if bit > 31 {
                return Err(FaultPlanError::Value { part: part.to_owned(), form });
            }
            Part::Fault(Fault::ChanErr(bit))
        }
        ("short", Some(value)) => Part::Fault(Fault::Short(number(part, value, "short=BYTES")?)),
        ("silent-short", Some(value)) => {
            Part::Fault(Fault::SilentShort(number(part, value, "silent-short=BYTES")?))
        }
        ("stall", None) => Part::Fault(Fault::Stall),
        ("lost-writeback", None) => Part::Fault(Fault::LostWriteBack),
        ("duplicate-writeback", None) => Part::Fault(Fault::DuplicateWriteBack),
        ("late-writeback", Some(value)) => {
            let form = "late-writeback=DESCRIPTORS";
            Part::Fault(Fault::LateWriteBack(number(part, value, form)?))
        }
        ("gone", None) => Part::Fault(Fault::Gone),
        _ => return Err(FaultPlanError::UnknownPart { part: part.to_owned() }),
    })
}

fn count(part: &str, value: &str, form: &'static str) -> Result<u64, FaultPlanError> {
    match number(part, value, form)? {
        0 => Err(FaultPlanError::Value { part: part.to_owned(), form }),
        count => Ok(count),
    }
}

fn number<T: FromStr>(part: &str, value: &str, form: &'static str) -> Result<T, FaultPlanError> {
    value.parse().map_err(|_| FaultPlanError::Value { part: part.to_owned(), form })
}

#[cfg(test)]
mod tests {
    use super::{Fault, FaultPlan, PlannedFault};

    #[test]
    fn a_plan_survives_its_text() {
        let text = "nth=5:chanerr=8,nth=7:stall,nth=9:lost-writeback,channel=2:every=9:gone,\
                    nth=1:duplicate-writeback,nth=3:short=100,every=100:silent-short=0,\
                    nth=6:late-writeback=2";
        let plan: FaultPlan = text.parse().unwrap();
        assert_eq!(plan.to_string(), text);
        assert_eq!(plan.items()[0], PlannedFault::nth(5, Fault::ChanErr(8)));
        assert_eq!(plan.items()[3], PlannedFault::every(9, Fault::Gone).on_channel(2));
        assert_eq!(plan.items().len(), 8);
        assert_eq!(" stall : nth=2 ".parse::<FaultPlan>().unwrap().to_string(), "nth=2:stall");
        assert_eq!("".parse(), Ok(FaultPlan::new()));
    }

    #[test]
    fn what_is_no_plan_is_refused_with_the_form() {
        let cases = [
            ("nth=5", "`nth=5` does not say what happens: the form is WHEN:FAULT"),
            ("stall", "`stall` does not say when"),
            ("nth=0:stall", "the form is nth=N, N from 1"),
            ("every=x:stall", "`every=x` has no valid value"),
            ("nth=1:chanerr=32", "the form is chanerr=BIT, BIT from 0 to 31"),
            ("nth=1:chanerr=-1", "`chanerr=-1`"),
            ("nth=1:stall=3", "`stall=3` is no part of a fault: the form is"),
            ("nth=1:short", "`short` is no part"),
            ("nth=1:late-writeback", "`late-writeback` is no part"),
            ("nth=1:late-writeback=x", "the form is late-writeback=DESCRIPTORS"),
            ("nth=1:stall,", "`` is no part"),
            ("nth=1:every=2:stall", "says when twice"),
            ("nth=1:stall:gone", "says what happens twice"),
            ("nth=1:channel=0:channel=1:gone", "says on which channel twice"),
            ("nth=1:short=4294967296", "the form is short=BYTES"),
        ];
        for (text, message) in cases {
            let error = text.parse::<FaultPlan>().unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}

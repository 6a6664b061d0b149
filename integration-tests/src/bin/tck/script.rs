//! What the operator does, by dataset and agreement: the kit expects each of its tests to meet a connector that behaves in
//! a certain way, so each test has a dataset or an agreement of its own.

/// A test of the kit, and the operator's part in it.
pub(crate) struct Part {
    /// The kit's name of it.
    pub(crate) test: &'static str,
    /// Who decides.
    pub(crate) hands: Hands,
    /// In order: the state to be reached, and the step to take in it.
    pub(crate) steps: &'static [(&'static str, &'static str)],
}

/// Who decides what the node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hands {
    /// The node by itself.
    Auto,
    /// The operator, through the management API.
    Manual,
}

use Hands::{Auto, Manual};

const fn part(
    test: &'static str,
    hands: Hands,
    steps: &'static [(&'static str, &'static str)],
) -> Part {
    Part { test, hands, steps }
}

/// The provider's negotiations, by the dataset that the kit asks for.
pub(crate) const PROVIDER_NEGOTIATIONS: [Part; 15] = [
    part("CN:01-01", Manual, &[("REQUESTED", "offer")]),
    part("CN:01-02", Manual, &[("REQUESTED", "offer"), ("REQUESTED", "terminate")]),
    part(
        "CN:01-03",
        Manual,
        &[("REQUESTED", "offer"), ("ACCEPTED", "agree"), ("VERIFIED", "finalize")],
    ),
    part("CN:01-04", Auto, &[]),
    part("CN:02-01", Manual, &[("REQUESTED", "terminate")]),
    part("CN:02-02", Manual, &[]),
    part("CN:02-03", Manual, &[("REQUESTED", "agree")]),
    part("CN:02-04", Manual, &[("REQUESTED", "offer")]),
    part("CN:02-05", Manual, &[("REQUESTED", "offer"), ("OFFERED", "terminate")]),
    part("CN:02-06", Manual, &[("REQUESTED", "offer"), ("ACCEPTED", "terminate")]),
    part("CN:02-07", Manual, &[("REQUESTED", "agree"), ("VERIFIED", "terminate")]),
    part("CN:03-01", Auto, &[]),
    part("CN:03-02", Manual, &[("REQUESTED", "offer")]),
    part("CN:03-03", Manual, &[("REQUESTED", "offer")]),
    part("CN:03-04", Manual, &[("REQUESTED", "offer")]),
];

/// The consumer's negotiations, by the dataset that the kit wants to be asked for.
pub(crate) const CONSUMER_NEGOTIATIONS: [Part; 16] = [
    part("CN_C:01-01", Manual, &[("OFFERED", "accept"), ("AGREED", "verify")]),
    part("CN_C:01-02", Manual, &[("OFFERED", "request")]),
    part("CN_C:01-03", Manual, &[("OFFERED", "terminate")]),
    part("CN_C:01-04", Auto, &[]),
    part("CN_C:02-01", Manual, &[]),
    part("CN_C:02-02", Manual, &[("REQUESTED", "terminate")]),
    part("CN_C:02-03", Manual, &[("AGREED", "terminate")]),
    part("CN_C:02-04", Manual, &[]),
    part("CN_C:02-05", Manual, &[("OFFERED", "accept")]),
    part("CN_C:02-06", Auto, &[]),
    part("CN_C:03-01", Manual, &[]),
    part("CN_C:03-02", Manual, &[]),
    part("CN_C:03-03", Manual, &[]),
    part("CN_C:03-04", Manual, &[("OFFERED", "accept")]),
    part("CN_C:03-05", Manual, &[("OFFERED", "accept")]),
    part("CN_C:03-06", Manual, &[("OFFERED", "accept")]),
];

/// The provider's transfers, by the agreement that the kit names.
pub(crate) const PROVIDER_TRANSFERS: [Part; 15] = [
    part("TP:01-01", Manual, &[("REQUESTED", "start"), ("STARTED", "terminate")]),
    part("TP:01-02", Manual, &[("REQUESTED", "start"), ("STARTED", "complete")]),
    part(
        "TP:01-03",
        Manual,
        &[("REQUESTED", "start"), ("STARTED", "suspend"), ("SUSPENDED", "terminate")],
    ),
    part(
        "TP:01-04",
        Manual,
        &[
            ("REQUESTED", "start"),
            ("STARTED", "suspend"),
            ("SUSPENDED", "resume"),
            ("STARTED", "complete"),
        ],
    ),
    part("TP:01-05", Manual, &[("REQUESTED", "terminate")]),
    part("TP:02-01", Auto, &[]),
    part("TP:02-02", Auto, &[]),
    part("TP:02-03", Manual, &[("REQUESTED", "start")]),
    part("TP:02-05", Manual, &[]),
    part("TP:03-01", Manual, &[]),
    part("TP:03-02", Manual, &[]),
    part("TP:03-03", Manual, &[("REQUESTED", "start")]),
    part("TP:03-04", Auto, &[]),
    part("TP:03-05", Auto, &[]),
    part("TP:03-06", Auto, &[]),
];

/// The consumer's transfers, by the agreement that the kit wants to be used.
pub(crate) const CONSUMER_TRANSFERS: [Part; 15] = [
    part("TP_C:01-01", Manual, &[]),
    part("TP_C:01-02", Manual, &[]),
    part("TP_C:01-03", Manual, &[]),
    part("TP_C:01-04", Manual, &[]),
    part("TP_C:01-05", Manual, &[]),
    part("TP_C:02-01", Manual, &[("STARTED", "terminate")]),
    part("TP_C:02-02", Manual, &[("STARTED", "complete")]),
    part("TP_C:02-03", Manual, &[("STARTED", "suspend"), ("SUSPENDED", "terminate")]),
    part("TP_C:02-05", Manual, &[("REQUESTED", "terminate")]),
    part("TP_C:03-01", Manual, &[]),
    part("TP_C:03-02", Manual, &[]),
    part("TP_C:03-03", Manual, &[]),
    part("TP_C:03-04", Manual, &[]),
    part("TP_C:03-05", Manual, &[]),
    part("TP_C:03-06", Manual, &[]),
];

impl Part {
    /// The id of the dataset or agreement of the test: `ACN0101` of `CN:01-01`, `ATPC0203` of `TP_C:02-03`. The kit itself
    /// insists on `ACN0102`.
    pub(crate) fn id(&self) -> String {
        let plain = self.test.chars().filter(char::is_ascii_alphanumeric);
        std::iter::once('A').chain(plain).collect()
    }

    /// What the names of the kit's settings for this test begin with: `CN_01_01`.
    pub(crate) fn prefix(&self) -> String {
        self.test.replace([':', '-'], "_")
    }

    /// The state and the step after so many steps.
    pub(crate) fn step(&self, done: usize) -> Option<(&'static str, &'static str)> {
        self.steps.get(done).copied()
    }
}

//! Who may reach what: the pure policy engine.

mod decision;
mod model;
mod path;
mod readings;
mod set;
mod trace;

pub use decision::{Decision, DenyReason, Subject, Verdict};
pub use model::{Action, Application, Group, Policy, Rules, Selector, Target};
pub use path::{PathPattern, PathPatternError};
pub use set::{Matched, PolicySet, PolicySetError, is_reserved};
pub use trace::{GroupTrace, PolicyTrace, RuleTrace, RulesTrace, Trace};

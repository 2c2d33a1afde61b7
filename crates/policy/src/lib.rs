//! Who may reach what: the pure policy engine.

mod model;
mod path;

pub use model::{Action, Application, Group, Policy, Rules, Selector, Target};
pub use path::{PathPattern, PathPatternError};

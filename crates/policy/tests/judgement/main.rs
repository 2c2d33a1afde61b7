//! The policy engine through its public face: tables from the reference, properties against a slow evaluator.

mod declare;
mod emails;
mod lookup;
mod paths;
mod properties;
mod rules;
mod sets;
mod slow;

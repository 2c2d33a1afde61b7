//! What gets through to an origin: nothing before a login, exactly the admitted requests after it. The canary keeps every
//! byte, so that "nothing" is a number.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod canary {
    mod after_login;
    mod before_login;
    mod catalogue;
    mod credentials;
    mod evil_origin;
    mod floods;
    mod frames;
    mod generated;
    mod handshakes;
    mod hosts;
    mod identity;
    mod memory;
    mod origins;
    mod paths;
    mod readings;
    mod slow;
    mod sources;
    mod upgrades;
}

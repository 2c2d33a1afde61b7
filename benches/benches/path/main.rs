//! What the path through the tunnel costs, held against the bare loopback, and what its hot pieces cost. One program, since linking
//! it takes longest.

#![allow(clippy::unwrap_used, reason = "a bench that cannot run says so by panicking")]

mod access;
mod http;
mod pieces;
mod stream;

use tunnel_benches::{Report, plan};

fn main() {
    let (mut criterion, mut report) = (plan::criterion(), Report::begin());
    pieces::all(&mut criterion);
    http::all(&mut criterion, &mut report);
    stream::all(&mut criterion, &mut report);
    access::all(&mut criterion, &mut report);
    criterion.final_summary();
    report.print();
}

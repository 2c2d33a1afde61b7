//! Buffers to read into. A connection has one only while something is in it, so that an idle one costs nothing.

use std::cell::RefCell;

use super::READ_MAX;

/// Buffers that each thread keeps ready.
const READY_MAX: usize = 8;

thread_local! {
    static READY: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of [`READ_MAX`] bytes, with anything in it.
pub(super) fn take() -> Vec<u8> {
    let ready = READY.try_with(|ready| ready.borrow_mut().pop()).ok().flatten();
    ready.unwrap_or_else(|| vec![0; READ_MAX])
}

/// Gives a buffer back. What is no such buffer is freed.
pub(super) fn give(buffer: Vec<u8>) {
    if buffer.len() != READ_MAX {
        return;
    }
    // A thread that ends has no pool any more.
    let _ = READY.try_with(|ready| {
        let mut ready = ready.borrow_mut();
        if ready.len() < READY_MAX {
            ready.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_and_no_more_are_kept_than_may_be() {
        let first = take();
        let address = first.as_ptr();
        give(first);
        let again = take();
        assert_eq!(again.as_ptr(), address, "it is the same one");
        let many: Vec<_> = (0..READY_MAX + 4).map(|_| take()).collect();
        many.into_iter().for_each(give);
        give(vec![0; READ_MAX - 1]);
        let kept = READY.with(|ready| ready.borrow().len());
        assert_eq!(kept, READY_MAX);
        assert!((0..kept).all(|_| take().len() == READ_MAX));
    }
}

//! A small mutator for the suite: what it makes follows from the seed alone.

/// The longest input that it makes.
const LONGEST: usize = 4096;
/// Bytes that mean something to somebody.
const BYTES: &[u8] = b"\0\t\n\r !\"#%&'()*+,-./0159:;<=>?@AZ[\\]_az{|}~\x7f\x80\xbf\xc0\xff";

/// Makes one input out of others.
pub(super) struct Mutator<'a> {
    state: u64,
    corpus: &'a [Vec<u8>],
    words: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    /// Out of `corpus` and `words`, of which the former has at least one.
    pub(super) fn new(seed: u64, corpus: &'a [Vec<u8>], words: &'a [Vec<u8>]) -> Self {
        Self { state: seed | 1, corpus, words }
    }

    /// Another input.
    pub(super) fn make(&mut self) -> Vec<u8> {
        let mut data = self.pick(self.corpus).clone();
        for _ in 0..=self.below(4) {
            self.change(&mut data);
        }
        data.truncate(LONGEST);
        data
    }

    fn change(&mut self, data: &mut Vec<u8>) {
        let at = self.below(data.len() + 1);
        let end = (at + 1 + self.below(8)).min(data.len());
        match self.below(8) {
            0 => {
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << self.below(8);
                }
            }
            1 => {
                let byte = *self.pick(BYTES);
                data.insert(at, byte);
            }
            2 if at < data.len() => data[at] = *self.pick(BYTES),
            3 => drop(data.drain(at.min(end)..end)),
            4 => {
                let piece = data[at.min(end)..end].to_vec();
                data.splice(at..at, piece);
            }
            5 => {
                let other = self.pick(self.corpus);
                let from = self.below(other.len() + 1);
                data.truncate(at);
                data.extend(&other[from..]);
            }
            6 => data.truncate(at),
            _ if !self.words.is_empty() => {
                let word = self.pick(self.words);
                data.splice(at..at, word.iter().copied());
            }
            _ => data.push(*self.pick(BYTES)),
        }
    }

    fn pick<'b, T>(&mut self, among: &'b [T]) -> &'b T {
        &among[self.below(among.len())]
    }

    /// A number below `limit`, which is not zero (xorshift64).
    fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % limit
    }
}

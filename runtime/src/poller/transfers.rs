//! The transfers that one engine has, and the tokens that name them.
//!
//! A transfer has a place in this table from `enqueue` to its end, and its token is the place and the number of the place's
//! *use*. A use is over with the first report of it, so that a second one, of whatever outcome and however late, names nothing:
//! not the same part, not another part of its operation, not one that was enqueued since, in the same epoch or a later one.
//! On that hangs whether memory is given back while an engine is at it, since an operation ends when as many parts are back as
//! were given out.
//!
//! A number has 48 bits in a token, and comes round after 2^47 uses of one place: a report would have to be late by exactly
//! that, which is months of nothing else.

use dmaring_engine::Token;

/// A token's lower bits: the place.
const PLACE_BITS: u32 = 16;
const PLACE_MASK: u64 = (1 << PLACE_BITS) - 1;
const USE_MASK: u64 = u64::MAX >> PLACE_BITS;

/// How many transfers there can be, whatever an engine says of its depth.
const MOST: usize = 1 << PLACE_BITS;
/// The end of the list of free places.
const NONE: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct Transfers {
    places: Box<[Place]>,
    /// The first free place; the one that was freed last, since the cache has it.
    free: u32,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Even: free. Odd: a transfer's.
    number: u64,
    /// The operation; of a free place the next free one.
    op: u32,
    part: u32,
}

impl Transfers {
    /// Room for as many transfers as an engine holds.
    pub(super) fn new(depth: usize) -> Self {
        let count = depth.clamp(1, MOST);
        let place = |next: usize| Place {
            number: 0,
            op: if next < count { next as u32 } else { NONE },
            part: 0,
        };
        Self { places: (1..=count).map(place).collect(), free: 0 }
    }

    /// The token of a transfer that is about to be enqueued, if there is room. `keep` makes it one that the engine has.
    #[inline]
    pub(super) fn offer(&self) -> Option<Token> {
        let place = self.places.get(self.free as usize)?;
        Some(token(self.free, place.number + 1))
    }

    /// The engine took the transfer that was last offered: this part of this operation.
    #[inline]
    pub(super) fn keep(&mut self, op: usize, part: u32) {
        if let Some(place) = self.places.get_mut(self.free as usize) {
            self.free = place.op;
            // An operation's place in the table has 16 bits or little more.
            *place = Place { number: place.number + 1, op: op as u32, part };
        }
    }

    /// The transfer that a token names has ended: its operation and part. `None` for a token that names none.
    #[inline]
    pub(super) fn end(&mut self, token: Token) -> Option<(usize, u32)> {
        let index = token.get() & PLACE_MASK;
        let place = self.places.get_mut(index as usize)?;
        let number = place.number;
        if number & 1 == 0 || number & USE_MASK != token.get() >> PLACE_BITS {
            return None;
        }
        let ended = (place.op as usize, place.part);
        *place = Place { number: number + 1, op: self.free, part: 0 };
        self.free = index as u32;
        Some(ended)
    }
}

#[inline]
fn token(place: u32, number: u64) -> Token {
    Token::new(u64::from(place) | number << PLACE_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(transfers: &mut Transfers, op: usize, part: u32) -> Option<Token> {
        let token = transfers.offer()?;
        transfers.keep(op, part);
        Some(token)
    }

    #[test]
    fn a_token_names_its_part_once() {
        let mut transfers = Transfers::new(4);
        let tokens: Vec<_> =
            (0..4).map(|part| take(&mut transfers, 70_000, part + 7).unwrap()).collect();
        assert!(transfers.offer().is_none(), "no more than the engine holds");
        for (part, &token) in (7..11).zip(&tokens).rev() {
            assert_eq!(transfers.end(token), Some((70_000, part)));
            assert_eq!(transfers.end(token), None, "told twice");
        }
        // The places have new uses, of which the old tokens say nothing.
        let again: Vec<_> = (0..4).map(|part| take(&mut transfers, 1, part).unwrap()).collect();
        assert!(tokens.iter().all(|&token| transfers.end(token).is_none()));
        assert!(again.iter().all(|&token| transfers.end(token).is_some()));
    }

    #[test]
    fn what_was_offered_and_not_kept_names_nothing() {
        let mut transfers = Transfers::new(4);
        let refused = transfers.offer().unwrap();
        assert_eq!(transfers.end(refused), None);
        assert_eq!(take(&mut transfers, 1, 2), Some(refused));
        assert_eq!(transfers.end(refused), Some((1, 2)));
    }

    #[test]
    fn made_up_tokens_name_nothing() {
        let mut transfers = Transfers::new(3);
        let token = take(&mut transfers, 1, 2).unwrap().get();
        for made_up in [0, 1, 3, u64::MAX, token ^ 1 << 16, token ^ 1 << 63, token + 1, token + 3] {
            assert_eq!(transfers.end(Token::new(made_up)), None, "{made_up:#x}");
        }
        assert_eq!(transfers.end(Token::new(token)), Some((1, 2)));
    }

    #[test]
    fn an_absurd_depth_is_bounded() {
        assert_eq!(Transfers::new(0).places.len(), 1);
        if cfg!(miri) {
            return; // Places by the ten thousand, one by one.
        }
        assert_eq!(Transfers::new(usize::MAX).places.len(), MOST);
    }
}

//! A second implementation of the code of an order ([O1]): SipHash-2-4 with 128 bits, from the
//! paper of Aumasson and Bernstein.

/// Returns the code of an order as it is on the wire: 32 hexadecimal digits.
pub(super) fn code(key: &[u8; 16], session: u64, number: u16, order: &str) -> String {
    let mut message = vec![0x4F];
    message.extend(session.to_be_bytes());
    message.extend(number.to_be_bytes());
    message.extend(order.bytes());
    let digits = siphash(key, &message).map(|byte| format!("{byte:02x}"));
    digits.concat()
}

fn siphash(key: &[u8; 16], message: &[u8]) -> [u8; 16] {
    let (halves, _) = key.as_chunks::<8>();
    let [k0, k1] = [halves[0], halves[1]].map(u64::from_le_bytes);
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xEE,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (words, rest) = message.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = message.len().to_le_bytes()[0];
    for word in words.iter().chain([&last]) {
        let word = u64::from_le_bytes(*word);
        state[3] ^= word;
        rounds(&mut state, 2);
        state[0] ^= word;
    }
    state[2] ^= 0xEE;
    rounds(&mut state, 4);
    let first = state[0] ^ state[1] ^ state[2] ^ state[3];
    state[1] ^= 0xDD;
    rounds(&mut state, 4);
    let second = state[0] ^ state[1] ^ state[2] ^ state[3];
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&first.to_le_bytes());
    hash[8..].copy_from_slice(&second.to_le_bytes());
    hash
}

fn rounds(state: &mut [u64; 4], times: usize) {
    let [a, b, c, d] = state;
    for _ in 0..times {
        *a = a.wrapping_add(*b);
        *c = c.wrapping_add(*d);
        *b = b.rotate_left(13) ^ *a;
        *d = d.rotate_left(16) ^ *c;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*b);
        *a = a.wrapping_add(*d);
        *b = b.rotate_left(17) ^ *c;
        *d = d.rotate_left(21) ^ *a;
        *c = c.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_vectors_of_the_paper_are_met() {
        let key = core::array::from_fn(|at| u8::try_from(at).unwrap());
        let hex = |hash: [u8; 16]| hash.map(|byte| format!("{byte:02x}")).concat();
        assert_eq!(hex(siphash(&key, &[])), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(hex(siphash(&key, &[0])), "da87c1d86b99af44347659119b22fc45");
    }
}

use crate::xenstore::fuzz_xenstore;
use alloc::vec::Vec;

/// xorshift64*: the same inputs on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn seeded_inputs() {
    for seed in 1..3000 {
        let mut random = Random(seed);
        let length = random.next() % 600;
        let input: Vec<u8> = (0..length)
            .map(|_| random.next().to_le_bytes()[4])
            .collect();
        fuzz_xenstore(&input);
    }
}

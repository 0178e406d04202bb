//! The instructions that a lane carries out by itself, each by the definition of NVIDIA's PTX ISA (9.0, chapter 9.7).
//!
//! Floating point is IEEE's, to nearest even (`.rn`), subnormals kept; a NaN that `.f32` arithmetic makes is 0x7fffffff. One thing is not the
//! card's to the last bit: `ex2.approx` is 2^x rounded once, where the card's may be two units in the last place off.

use super::code::{Kind, Lanes, Registers, WARP};

/// An instruction: kinds of its operands, destination first, and what it does.
pub(super) struct Entry {
    pub kinds: &'static [Kind],
    pub run: Lanes,
}

/// `word = word a, word b => expression`: an entry whose operands have these kinds.
macro_rules! lanes {
    ($d:ident = $($k:ident $x:ident),* => $e:expr) => {{
        fn run(registers: &mut Registers, mask: u32, operands: &[u16]) {
            let mut next = operands.iter().map(|&o| usize::from(o));
            let to = next.next().unwrap_or_default();
            $( let $x = registers.$k[next.next().unwrap_or_default()]; )*
            let to = &mut registers.$d[to];
            if mask == u32::MAX {
                for lane in 0..WARP {
                    $( let $x = $x[lane]; )*
                    to[lane] = $e;
                }
            } else {
                for lane in (0..WARP).filter(|lane| mask >> lane & 1 == 1) {
                    $( let $x = $x[lane]; )*
                    to[lane] = $e;
                }
            }
        }
        Entry { kinds: &[lanes!(@ $d), $(lanes!(@ $k)),*], run }
    }};
    (@ word) => { Kind::Word };
    (@ wide) => { Kind::Wide };
    (@ pred) => { Kind::Pred };
}

fn f(x: u32) -> f32 {
    f32::from_bits(x)
}

fn d(x: u64) -> f64 {
    f64::from_bits(x)
}

/// The bits of a result of `.f32`.
fn bits(x: f32) -> u32 {
    if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }
}

/// The number where one of two is none; +0 is more than -0.
fn greater(a: f32, b: f32) -> f32 {
    if a.is_nan() || (a == b && a.is_sign_negative()) || b > a { b } else { a }
}

fn less(a: f32, b: f32) -> f32 {
    -greater(-a, -b)
}

/// To bf16: nearest even, a NaN is 0x7fff.
fn half(x: u32) -> u32 {
    if f(x).is_nan() {
        return 0x7fff;
    }
    let (kept, rest) = (x >> 16, x & 0xffff);
    kept + u32::from(rest > 0x8000 || (rest == 0x8000 && kept & 1 == 1))
}

fn power_of_two(x: f32) -> u32 {
    let flushed = |x: f32| if x.is_subnormal() { 0f32.copysign(x) } else { x };
    bits(flushed(f64::from(flushed(x)).exp2() as f32))
}

/// Each nibble of `how` picks a byte of `b:a`; its high bit spreads the byte's sign.
fn permuted(a: u32, b: u32, how: u32) -> u32 {
    let bytes = (u64::from(b) << 32 | u64::from(a)).to_le_bytes();
    u32::from_le_bytes(std::array::from_fn(|i| {
        let nibble = how >> (4 * i) & 0xf;
        let byte = bytes[nibble as usize & 7];
        if nibble & 8 == 0 {
            byte
        } else if byte & 0x80 == 0 {
            0
        } else {
            0xff
        }
    }))
}

/// `bits` of `a` put into `b` from `at` on.
fn inserted(a: u64, b: u64, at: u32, bits: u32) -> u64 {
    let (at, bits) = ((at & 0xff).min(64), (bits & 0xff).min(64));
    let field = ((1u128 << bits) - 1) << at;
    ((u128::from(a) << at & field) as u64) | (b & !(field as u64))
}

/// `mov.b64 wide, {low, high}`
pub(super) fn joined(registers: &mut Registers, mask: u32, operands: &[u16]) {
    let [to, low, high] = std::array::from_fn(|i| usize::from(operands[i]));
    for lane in (0..WARP).filter(|lane| mask >> lane & 1 == 1) {
        let (low, high) = (registers.word[low][lane], registers.word[high][lane]);
        registers.wide[to][lane] = u64::from(high) << 32 | u64::from(low);
    }
}

/// `mov.b64 {low, high}, wide`
pub(super) fn parted(registers: &mut Registers, mask: u32, operands: &[u16]) {
    let [low, high, from] = std::array::from_fn(|i| usize::from(operands[i]));
    for lane in (0..WARP).filter(|lane| mask >> lane & 1 == 1) {
        let whole = registers.wide[from][lane];
        registers.word[low][lane] = whole as u32;
        registers.word[high][lane] = (whole >> 32) as u32;
    }
}

/// `cvt.s64.s32` of a wide register: of its low half.
pub(super) fn low_half(registers: &mut Registers, mask: u32, operands: &[u16]) {
    (lanes!(wide = wide a => i64::from(a as i32) as u64).run)(registers, mask, operands);
}

/// What an opcode with all its modifiers does, where a lane does it by itself.
#[allow(clippy::neg_cmp_op_on_partial_ord)] // unordered is true where the opposite is false
pub(super) fn entry(opcode: &str) -> Option<Entry> {
    Some(match opcode {
        "mov.u16" => lanes!(word = word a => a & 0xffff),
        "mov.b32" | "mov.u32" | "mov.f32" => lanes!(word = word a => a),
        "mov.b64" | "mov.u64" | "mov.f64" | "cvta.to.global.u64" => lanes!(wide = wide a => a),
        "mov.pred" => lanes!(pred = pred a => a),
        "selp.b32" | "selp.u32" | "selp.f32" => {
            lanes!(word = word a, word b, pred p => if p { a } else { b })
        }
        "selp.b64" | "selp.f64" => lanes!(wide = wide a, wide b, pred p => if p { a } else { b }),

        "add.s32" => lanes!(word = word a, word b => a.wrapping_add(b)),
        "sub.s32" => lanes!(word = word a, word b => a.wrapping_sub(b)),
        "mul.lo.s32" => lanes!(word = word a, word b => a.wrapping_mul(b)),
        "mul.hi.s32" => {
            lanes!(word = word a, word b => ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32)
        }
        "mad.lo.s32" => lanes!(word = word a, word b, word c => a.wrapping_mul(b).wrapping_add(c)),
        "mul.wide.s32" => {
            lanes!(wide = word a, word b => (i64::from(a as i32) * i64::from(b as i32)) as u64)
        }
        "mul.wide.u32" => lanes!(wide = word a, word b => u64::from(a) * u64::from(b)),
        // By zero, a value that the machine chooses.
        "div.s32" => {
            lanes!(word = word a, word b => if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 })
        }
        "div.u32" => lanes!(word = word a, word b => a.checked_div(b).unwrap_or(u32::MAX)),
        "rem.s32" => {
            lanes!(word = word a, word b => if b == 0 { u32::MAX } else { (a as i32).wrapping_rem(b as i32) as u32 })
        }
        "rem.u32" => lanes!(word = word a, word b => a.checked_rem(b).unwrap_or(u32::MAX)),
        "min.s32" => lanes!(word = word a, word b => (a as i32).min(b as i32) as u32),
        "max.s32" => lanes!(word = word a, word b => (a as i32).max(b as i32) as u32),
        "add.s64" => lanes!(wide = wide a, wide b => a.wrapping_add(b)),
        "sub.s64" => lanes!(wide = wide a, wide b => a.wrapping_sub(b)),
        "mul.lo.s64" => lanes!(wide = wide a, wide b => a.wrapping_mul(b)),
        "neg.s64" => lanes!(wide = wide a => a.wrapping_neg()),
        "div.u64" => lanes!(wide = wide a, wide b => a.checked_div(b).unwrap_or(u64::MAX)),
        "rem.u64" => lanes!(wide = wide a, wide b => a.checked_rem(b).unwrap_or(u64::MAX)),
        "min.u64" => lanes!(wide = wide a, wide b => a.min(b)),
        "max.u64" => lanes!(wide = wide a, wide b => a.max(b)),

        "and.b16" | "and.b32" => lanes!(word = word a, word b => a & b),
        "or.b32" => lanes!(word = word a, word b => a | b),
        "not.b32" => lanes!(word = word a => !a),
        "and.b64" => lanes!(wide = wide a, wide b => a & b),
        "or.b64" => lanes!(wide = wide a, wide b => a | b),
        "xor.b64" => lanes!(wide = wide a, wide b => a ^ b),
        "not.b64" => lanes!(wide = wide a => !a),
        "and.pred" => lanes!(pred = pred a, pred b => a & b),
        "or.pred" => lanes!(pred = pred a, pred b => a | b),
        "xor.pred" => lanes!(pred = pred a, pred b => a ^ b),
        "not.pred" => lanes!(pred = pred a => !a),
        // Shifts by more than the width are by the width.
        "shl.b32" => lanes!(word = word a, word b => a.checked_shl(b).unwrap_or(0)),
        "shr.u32" => lanes!(word = word a, word b => a.checked_shr(b).unwrap_or(0)),
        "shr.s32" => lanes!(word = word a, word b => (a as i32 >> b.min(31)) as u32),
        "shl.b64" => lanes!(wide = wide a, word b => a.checked_shl(b).unwrap_or(0)),
        "shr.u64" => lanes!(wide = wide a, word b => a.checked_shr(b).unwrap_or(0)),
        "popc.b32" => lanes!(word = word a => a.count_ones()),
        "clz.b32" => lanes!(word = word a => a.leading_zeros()),
        "brev.b32" => lanes!(word = word a => a.reverse_bits()),
        // How far the highest bit that is set must be shifted to be the highest.
        "bfind.shiftamt.u32" => lanes!(word = word a => if a == 0 { u32::MAX } else { a.leading_zeros() }),
        "prmt.b32" => lanes!(word = word a, word b, word how => permuted(a, b, how)),
        "bfi.b32" => {
            lanes!(word = word a, word b, word at, word bits => inserted(a.into(), b.into(), at, bits) as u32)
        }
        "bfi.b64" => lanes!(wide = wide a, wide b, word at, word bits => inserted(a, b, at, bits)),

        "add.rn.f32" => lanes!(word = word a, word b => bits(f(a) + f(b))),
        "sub.rn.f32" => lanes!(word = word a, word b => bits(f(a) - f(b))),
        "mul.rn.f32" => lanes!(word = word a, word b => bits(f(a) * f(b))),
        "div.rn.f32" => lanes!(word = word a, word b => bits(f(a) / f(b))),
        "fma.rn.f32" => lanes!(word = word a, word b, word c => bits(f(a).mul_add(f(b), f(c)))),
        "rcp.rn.f32" => lanes!(word = word a => bits(1.0 / f(a))),
        "sqrt.rn.f32" => lanes!(word = word a => bits(f(a).sqrt())),
        "neg.f32" => lanes!(word = word a => a ^ 1 << 31),
        "abs.f32" => lanes!(word = word a => a & !(1 << 31)),
        "max.f32" => lanes!(word = word a, word b => bits(greater(f(a), f(b)))),
        "min.f32" => lanes!(word = word a, word b => bits(less(f(a), f(b)))),
        "ex2.approx.ftz.f32" => lanes!(word = word a => power_of_two(f(a))),
        "add.rn.f64" => lanes!(wide = wide a, wide b => (d(a) + d(b)).to_bits()),
        "sub.rn.f64" => lanes!(wide = wide a, wide b => (d(a) - d(b)).to_bits()),
        "mul.rn.f64" => lanes!(wide = wide a, wide b => (d(a) * d(b)).to_bits()),
        "div.rn.f64" => lanes!(wide = wide a, wide b => (d(a) / d(b)).to_bits()),
        "fma.rn.f64" => lanes!(wide = wide a, wide b, wide c => d(a).mul_add(d(b), d(c)).to_bits()),

        "cvt.s64.s32" => lanes!(wide = word a => i64::from(a as i32) as u64),
        "cvt.u64.u32" => lanes!(wide = word a => u64::from(a)),
        "cvt.u32.u64" => lanes!(word = wide a => a as u32),
        "cvt.u16.u32" | "cvt.u32.u16" => lanes!(word = word a => a & 0xffff),
        // Float to whole: towards zero, to the nearest value that there is; NaN is 0, of f64 to 64 bits the top bit.
        "cvt.rzi.s32.f32" => lanes!(word = word a => f(a) as i32 as u32),
        "cvt.rzi.u32.f64" => lanes!(word = wide a => d(a) as u32),
        "cvt.rzi.u64.f64" => lanes!(wide = wide a => if d(a).is_nan() { 1 << 63 } else { d(a) as u64 }),
        "cvt.rpi.f64.f64" => lanes!(wide = wide a => d(a).ceil().to_bits()),
        "cvt.rn.f32.s32" => lanes!(word = word a => bits(a as i32 as f32)),
        "cvt.rn.f64.s32" => lanes!(wide = word a => f64::from(a as i32).to_bits()),
        "cvt.rn.f64.u32" => lanes!(wide = word a => f64::from(a).to_bits()),
        "cvt.rn.f64.u64" => lanes!(wide = wide a => (a as f64).to_bits()),
        "cvt.rn.f32.f64" => lanes!(word = wide a => bits(d(a) as f32)),
        "cvt.f64.f32" => lanes!(wide = word a => f64::from(f(a)).to_bits()),
        // The first source is the upper half.
        "cvt.rn.bf16x2.f32" => lanes!(word = word a, word b => half(a) << 16 | half(b)),

        "setp.eq.s16" => lanes!(pred = word a, word b => a as u16 == b as u16),
        "setp.eq.s32" | "setp.eq.b32" => lanes!(pred = word a, word b => a == b),
        "setp.ne.s32" => lanes!(pred = word a, word b => a != b),
        "setp.lt.s32" => lanes!(pred = word a, word b => (a as i32) < b as i32),
        "setp.le.s32" => lanes!(pred = word a, word b => a as i32 <= b as i32),
        "setp.gt.s32" => lanes!(pred = word a, word b => a as i32 > b as i32),
        "setp.ge.s32" => lanes!(pred = word a, word b => a as i32 >= b as i32),
        "setp.lt.u32" => lanes!(pred = word a, word b => a < b),
        "setp.le.u32" => lanes!(pred = word a, word b => a <= b),
        "setp.gt.u32" => lanes!(pred = word a, word b => a > b),
        "setp.ge.u32" => lanes!(pred = word a, word b => a >= b),
        "setp.eq.s64" => lanes!(pred = wide a, wide b => a == b),
        "setp.ne.s64" => lanes!(pred = wide a, wide b => a != b),
        "setp.lt.u64" => lanes!(pred = wide a, wide b => a < b),
        "setp.le.u64" => lanes!(pred = wide a, wide b => a <= b),
        "setp.ge.u64" => lanes!(pred = wide a, wide b => a >= b),
        // False where one is NaN; those with a `u` are true there.
        "setp.eq.f32" => lanes!(pred = word a, word b => f(a) == f(b)),
        "setp.lt.f32" => lanes!(pred = word a, word b => f(a) < f(b)),
        "setp.gt.f32" => lanes!(pred = word a, word b => f(a) > f(b)),
        "setp.ge.f32" => lanes!(pred = word a, word b => f(a) >= f(b)),
        "setp.neu.f32" => lanes!(pred = word a, word b => f(a) != f(b)),
        "setp.ltu.f32" => lanes!(pred = word a, word b => !(f(a) >= f(b))),
        "setp.leu.f32" => lanes!(pred = word a, word b => !(f(a) > f(b))),
        "setp.gtu.f32" => lanes!(pred = word a, word b => !(f(a) <= f(b))),
        "setp.geu.f32" => lanes!(pred = word a, word b => !(f(a) < f(b))),
        "setp.nan.f32" => lanes!(pred = word a, word b => f(a).is_nan() || f(b).is_nan()),
        "setp.lt.f64" => lanes!(pred = wide a, wide b => d(a) < d(b)),
        "setp.gt.f64" => lanes!(pred = wide a, wide b => d(a) > d(b)),
        "setp.neu.f64" => lanes!(pred = wide a, wide b => d(a) != d(b)),
        "setp.ltu.f64" => lanes!(pred = wide a, wide b => !(d(a) >= d(b))),
        _ => return None,
    })
}

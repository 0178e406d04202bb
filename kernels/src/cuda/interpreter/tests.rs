//! The interpreter itself: what it must find, it finds.

use super::*;
use crate::cuda::SOURCES;
use crate::cuda::testing::{on, values};
use crate::cuda::{Buffer, Device};

const SOURCE: Source = Source {
    name: "faults",
    text: r#"
extern "C" __global__ void reversed(const int *x, int *y, int barrier) {
  __shared__ int room[64];
  room[threadIdx.x] = x[threadIdx.x];
  if (barrier) __syncthreads();
  y[threadIdx.x] = room[63 - threadIdx.x];
}
extern "C" __global__ void pairs(int *y, int which) {
  __shared__ int room[64];
  __shared__ unsigned short halves[64];
  int i = threadIdx.x, other = i ^ 1, z = 0;
  if (which < 2) {  // a write after another warp's read
    room[i] = i;
    __syncthreads();
    if (i < 32) z = room[63 - i];
    if (which == 1) __syncthreads();
    if (i >= 32) room[i] = z;
  } else if (which < 6) {  // the lanes of a warp: a read after a write, a write after a read; a shuffle between them is nothing
    room[i] = i;
    if (which != 2) __syncwarp();
    z = __shfl_sync(EVERYONE, room[other], 0);
    if (which == 5) __syncwarp();
    if (which > 3) room[i] = z;
  } else if (which == 6) {  // atomic beside plain
    if (i == 0) room[0] = 0;
    atomicAdd(&room[0], 1);
  } else {  // atomic beside atomic; neighbours in a word; all lanes the same
    if (i == 0) room[0] = 0;
    if (i / 32 == 1) room[1] = 3;
    __syncthreads();
    z = atomicAdd(&room[0], 1);
    halves[i % 32 * 2 + i / 32] = (unsigned short)i;
    __syncthreads();
    z = halves[63 - i] + room[0] + room[1];
  }
  y[i] = z;
}
extern "C" __global__ void half_a_barrier(int *y, int threads) {
  if (threadIdx.x < threads) __syncthreads();
  y[threadIdx.x] = 1;
}
extern "C" __global__ void half_a_warp(float *y) {
  float x = y[threadIdx.x];
  if (threadIdx.x < 8) x = __shfl_sync(EVERYONE, x, 0);
  y[threadIdx.x] = x;
}
extern "C" __global__ void wide(const float *x, float *y, int at) {
  float4 v = load4(x + at);
  y[threadIdx.x] = v.x + v.w;
}
extern "C" __global__ void beyond(float *y, int at) {
  DYNAMIC_SHARED(room);
  float *mine = (float *)room;
  mine[threadIdx.x] = 1.0f;
  __syncthreads();
  y[threadIdx.x] = mine[threadIdx.x + at];
}
extern "C" __global__ void past(float *y, int at) { y[threadIdx.x + at] = 1.0f; }
extern "C" __global__ void apart(const int *x, int *y) {
  int n = x[threadIdx.x], steps = 0;
  while (n != 1) n = n % 2 ? 3 * n + 1 : n / 2, steps++;
  for (int d = 16; d > 0; d /= 2) steps += __shfl_xor_sync(EVERYONE, steps, d);
  y[threadIdx.x] = steps;
}
extern "C" __global__ void background(const float *x, float *y, int wait) {
  __shared__ float room[128];
  copy_16(room + 4 * threadIdx.x, x + 4 * threadIdx.x, threadIdx.x < 16);
  copies_end();
  if (wait) copies_wait<0>();
  __syncthreads();
  for (int i = 0; i < 4; i++) y[4 * threadIdx.x + i] = room[(4 * threadIdx.x + i + 4) % 128];
}
extern "C" __launch_bounds__(64) __global__ void few(float *y) { y[threadIdx.x] = 1.0f; }
"#,
};

fn device(order: u64) -> Option<Device> {
    Device::interpreted(order).map_err(|e| eprintln!("skipped: {e}")).ok()
}

fn fault(device: &Device, kernel: &str, grid: Grid, args: &[Arg]) -> String {
    device.launch("test", &SOURCE, kernel, grid, args).expect_err(kernel).to_string()
}

#[test]
fn all_ptx_is_read() {
    if let Err(missing) = libraries::nvrtc() {
        return eprintln!("skipped: {missing}");
    }
    for capability in [80, 90] {
        for source in SOURCES {
            let text = module::intermediate(source, capability).unwrap();
            let module = parse::module(std::str::from_utf8(&text).unwrap().trim_end_matches('\0'));
            let module = module.unwrap_or_else(|fact| panic!("{}: {fact}", source.name));
            for (kernel, _) in crate::cuda::launch::signatures(source.text) {
                assert!(module.contains_key(&kernel), "{kernel} of {}", source.name);
            }
        }
    }
}

#[test]
fn what_is_not_known_is_named() {
    let text = ".visible .entry k(\n)\n{\n.reg .b32 %r<2>;\nadd.cc.u32 %r0, %r1, 1;\nret;\n}\n";
    let error = parse::module(text).err().unwrap();
    assert_eq!(error, "k, PTX line 5: unknown opcode add.cc.u32: `add.cc.u32 %r0, %r1, 1;`");
    let text = text.replace("add.cc.u32 %r0", "ld.volatile.global.u32 %r0").replace("%r1, 1", "[%r1]");
    let error = parse::module(&text).err().unwrap();
    assert!(error.contains("unknown modifiers [\"volatile\""), "{error}");
}

#[test]
fn a_missing_barrier_is_a_race_in_every_order() {
    let x: Vec<i32> = (0..64).collect();
    let reversed: Vec<i32> = x.iter().rev().copied().collect();
    for order in [0, 1, 7] {
        let Some(device) = device(order) else { return };
        let (x, y) = (on(&device, &x), on(&device, &[0i32; 64]));
        let args = |barrier: bool| [Arg::from(&x), Arg::from(&y), barrier.into()];
        device.launch("test", &SOURCE, "reversed", Grid::of(1, 64), &args(true)).unwrap();
        assert_eq!(y.download("test").unwrap(), reversed, "order {order}");
        let error = fault(&device, "reversed", Grid::of(1, 64), &args(false));
        assert!(
            error.contains("a race at byte") && error.contains("no barrier since a read by warp"),
            "{error}"
        );
        assert!(error.contains("in `st.shared.u32") && error.contains("in `ld.shared.u32"), "{error}");
    }
}

#[test]
fn races_are_told_from_what_is_none() {
    // Which accesses to `room` follow one another in `pairs`, and what is said of them.
    for (case, fact) in [
        (0usize, "no barrier since a read by warp"),
        (1, ""),
        (2, "no barrier since a write by lane"),
        (3, ""),
        (4, "no barrier since a read by lane"),
        (5, ""),
        (6, "no barrier since a write by warp"),
        (7, ""),
    ] {
        let Some(device) = device(0) else { return };
        let y = on(&device, &[0i32; 64]);
        let args = [Arg::from(&y), case.into()];
        match device.launch("test", &SOURCE, "pairs", Grid::of(2, 64), &args) {
            Ok(()) => assert!(fact.is_empty(), "{case}"),
            Err(error) => assert!(!fact.is_empty() && error.to_string().contains(fact), "{case}: {error}"),
        }
    }
}

#[test]
fn threads_that_wait_for_one_another_are_an_error() {
    let Some(device) = device(0) else { return };
    let y = on(&device, &[0i32; 64]);
    let error = fault(&device, "half_a_barrier", Grid::of(1, 64), &[Arg::from(&y), 32usize.into()]);
    assert!(error.contains("1 of 2 warps have ended"), "{error}");
    let error = fault(&device, "half_a_barrier", Grid::of(1, 64), &[Arg::from(&y), 40usize.into()]);
    assert!(error.contains("8 of a warp's lanes wait, 24 have ended: bar.sync"), "{error}");
    let y = on(&device, &[0f32; 32]);
    let error = fault(&device, "half_a_warp", Grid::of(1, 32), &[Arg::from(&y)]);
    assert!(error.contains("8 of a warp's lanes wait, 24 have ended: shfl.sync.idx"), "{error}");
}

#[test]
fn places_that_are_not_there_are_errors() {
    let Some(device) = device(0) else { return };
    let (x, y) = (on(&device, &values(1, 64, 1.0)), on(&device, &[0f32; 32]));
    for (at, fact) in
        [(0usize, ""), (1, "is not a multiple of 16"), (64, "256 bytes into the nearest buffer")]
    {
        let args = [Arg::from(&x), Arg::from(&y), at.into()];
        match device.launch("test", &SOURCE, "wide", Grid::of(1, 32), &args) {
            Ok(()) => assert!(fact.is_empty(), "{at}"),
            Err(error) => assert!(!fact.is_empty() && error.to_string().contains(fact), "{error}"),
        }
    }
    let error = fault(&device, "past", Grid::of(1, 32), &[Arg::from(&y), 4usize.into()]);
    assert!(error.contains("lane 28") && error.contains("4 bytes at"), "{error}");
    let shared = Grid::of(1, 32).shared(128);
    let error = fault(&device, "beyond", shared, &[Arg::from(&y), 4usize.into()]);
    assert!(error.contains("lane 28: 4 bytes at 128 of the block's 128 bytes of shared memory"), "{error}");
    let error = fault(&device, "beyond", Grid::of(1, 32).shared(233_000), &[Arg::from(&y), 0usize.into()]);
    assert!(error.contains("233000 bytes of shared memory"), "{error}");
    let error = fault(&device, "few", Grid::of(1, 96), &[Arg::from(&y)]);
    assert!(error.contains("96 threads: whole warps of at most 64"), "{error}");
}

#[test]
fn lanes_that_part_meet_again() {
    for order in [0, 7] {
        let Some(device) = device(order) else { return };
        let x: Vec<i32> = (1..33).collect();
        let steps = |mut n: i32| {
            let mut steps = 0;
            while n != 1 {
                n = if n % 2 == 1 { 3 * n + 1 } else { n / 2 };
                steps += 1;
            }
            steps
        };
        let sum: i32 = x.iter().map(|&n| steps(n)).sum();
        let (x, y) = (on(&device, &x), on(&device, &[0i32; 32]));
        device.launch("test", &SOURCE, "apart", Grid::of(1, 32), &[Arg::from(&x), Arg::from(&y)]).unwrap();
        assert_eq!(y.download("test").unwrap(), [sum; 32]);
    }
}

#[test]
fn a_background_copy_is_awaited() {
    let Some(device) = device(0) else { return };
    let x = on(&device, &values(1, 128, 1.0));
    let y = Buffer::<f32>::uninit(&device, "test", 128).unwrap();
    let args = |wait: bool| [Arg::from(&x), Arg::from(&y), wait.into()];
    device.launch("test", &SOURCE, "background", Grid::of(1, 32), &args(true)).unwrap();
    let (x, y) = (x.download("test").unwrap(), y.download("test").unwrap());
    assert_eq!(y[..56], x[4..60]);
    assert!(y[64..100].iter().all(|&y| y == 0.0));
    let (x, y) = (on(&device, &x), on(&device, &y));
    let error = fault(&device, "background", Grid::of(1, 32), &[Arg::from(&x), Arg::from(&y), false.into()]);
    assert!(error.contains("a copy that is not waited for by"), "{error}");
    assert!(error.contains("in `cp.async.cg.shared.global"), "{error}");
}

#[test]
fn instructions_are_the_isa_s() {
    use super::code::{Kind, Registers};
    let run = |opcode: &str, a: u64, b: u64, c: u64| {
        let entry = lanes::entry(opcode).unwrap();
        let mut r =
            Registers { word: vec![[0; WARP]; 4], wide: vec![[0; WARP]; 4], pred: vec![[false; WARP]; 4] };
        for (i, x) in [0, a, b, c].into_iter().enumerate() {
            (r.word[i][5], r.wide[i][5], r.pred[i][5]) = (x as u32, x, x == 1);
        }
        (entry.run)(&mut r, 1 << 5, &[0, 1, 2, 3]);
        assert_eq!((r.word[0][4], r.wide[0][4], r.pred[0][4]), (0, 0, false), "one lane takes part");
        match entry.kinds[0] {
            Kind::Word => u64::from(r.word[0][5]),
            Kind::Wide => r.wide[0][5],
            Kind::Pred => u64::from(r.pred[0][5]),
        }
    };
    let f = |x: f32| u64::from(x.to_bits());
    let nan = 0x7fff_ffff;
    assert_eq!(run("shl.b32", 1, 32, 0), 0);
    assert_eq!(run("shr.s32", 0x8000_0000, 40, 0), 0xffff_ffff);
    assert_eq!(run("mul.hi.s32", 0xffff_ffff, 2, 0), 0xffff_ffff);
    assert_eq!(run("mul.wide.s32", 0xffff_ffff, 2, 0), u64::MAX - 1);
    assert_eq!(run("bfind.shiftamt.u32", 0x0010_0000, 0, 0), 11);
    assert_eq!(run("prmt.b32", 0x8899_aabb, 0x1122_3344, 0xb410), 0xff44_aabb);
    assert_eq!(run("max.f32", nan, f(2.0), 0), f(2.0));
    assert_eq!(run("max.f32", f(-0.0), f(0.0), 0), f(0.0));
    assert_eq!(run("min.f32", f(0.0), f(-0.0), 0), f(-0.0));
    assert_eq!(run("min.f32", nan, 0xffc0_0000, 0), nan);
    assert_eq!(run("sub.rn.f32", f(f32::INFINITY), f(f32::INFINITY), 0), nan);
    assert_eq!(
        run("fma.rn.f32", f(1.0 + f32::EPSILON), f(1.0 - f32::EPSILON), f(-1.0)),
        f(-f32::EPSILON * f32::EPSILON)
    );
    assert_eq!(run("ex2.approx.ftz.f32", f(-127.0), 0, 0), 0);
    assert_eq!(run("ex2.approx.ftz.f32", f(-126.0), 0, 0), f(f32::MIN_POSITIVE));
    assert_eq!(run("cvt.rzi.s32.f32", f(-3.9e9), 0, 0), 0x8000_0000);
    assert_eq!(run("cvt.rzi.s32.f32", nan, 0, 0), 0);
    assert_eq!(run("cvt.rn.bf16x2.f32", f(1.0 + 1.0 / 256.0), f(-2.0), 0), 0x3f80_c000);
    assert_eq!(run("setp.ltu.f32", nan, f(1.0), 0), 1);
    assert_eq!(run("setp.lt.f32", nan, f(1.0), 0), 0);
}

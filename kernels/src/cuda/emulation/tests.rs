//! The emulation itself: what it must find, it finds.

use super::memory::MEMORY;
use super::*;
use crate::cuda::testing::{narrow, values, widen};
use crate::cuda::{Buffer, Device};

const SOURCE: Source = Source {
    name: "probe",
    text: r#"
extern "C" __global__ void reversed(const int *x, int *y, int barrier) {
  __shared__ int room[64];
  room[threadIdx.x] = x[threadIdx.x];
  if (barrier) __syncthreads();
  y[threadIdx.x] = room[63 - threadIdx.x];
}
extern "C" __global__ void half_a_barrier(int *y) {
  if (threadIdx.x < 40) __syncthreads();
  y[threadIdx.x] = 1;
}
extern "C" __global__ void two_exchanges(float *y) {
  y[threadIdx.x] = threadIdx.x < 8 ? warp_sum(1.0f) : __shfl_sync(EVERYONE, 1.0f, 0);
}
extern "C" __global__ void tile(const bf16 *a, const bf16 *b, float *c) {
  __shared__ bf16 sa[16 * 16];
  __shared__ bf16 sb[16 * 8];
  for (int i = 0; i < 8; i++) sa[threadIdx.x * 8 + i] = a[threadIdx.x * 8 + i];
  for (int i = 0; i < 4; i++) sb[threadIdx.x * 4 + i] = b[threadIdx.x * 4 + i];
  __syncthreads();
  int lane = threadIdx.x;
  u32 ra[4], rb[4];
  load_matrices(ra, sa + (lane % 16) * 16 + lane / 16 * 8);
  load_matrices_transposed(rb, sb + lane % 16 * 8);
  float d[4] = {0, 0, 0, 0};
  mma(d, ra, rb);
  for (int i = 0; i < 4; i++) c[(lane / 4 + i / 2 * 8) * 8 + 2 * (lane % 4) + i % 2] = d[i];
}
extern "C" __global__ void background(const float *x, float *y, int wait) {
  __shared__ float room[128];
  copy_16(room + 4 * threadIdx.x, x + 4 * threadIdx.x, threadIdx.x < 16);
  copies_end();
  if (wait) copies_wait<0>();
  __syncthreads();
  for (int i = 0; i < 4; i++) y[4 * threadIdx.x + i] = room[(4 * threadIdx.x + i + 4) % 128];
}
"#,
};

fn device(order: u64) -> Option<Device> {
    Device::emulated(order).map_err(|e| eprintln!("skipped: {e}")).ok()
}

#[test]
fn a_missing_barrier_shows_in_some_order() {
    let x: Vec<i32> = (0..64).collect();
    let reversed: Vec<i32> = x.iter().rev().copied().collect();
    let run = |order, barrier: bool| {
        let device = device(order)?;
        let x = Buffer::of(&device, "test", &x).unwrap();
        let y = Buffer::<i32>::uninit(&device, "test", 64).unwrap();
        let args = [Arg::from(&x), Arg::from(&y), barrier.into()];
        device.launch("test", &SOURCE, "reversed", Grid::of(1, 64), &args).unwrap();
        Some(y.download("test").unwrap() == reversed)
    };
    for order in [0, 1, 2, 3] {
        if run(order, true).is_none() {
            return;
        }
        assert_eq!(run(order, true), Some(true));
        assert_eq!(run(order, false), Some(false));
    }
}

#[test]
fn threads_that_wait_for_one_another_are_an_error() {
    let Some(device) = device(0) else { return };
    let y = Buffer::<i32>::uninit(&device, "test", 64).unwrap();
    let error =
        device.launch("test", &SOURCE, "half_a_barrier", Grid::of(1, 64), &[Arg::from(&y)]).unwrap_err();
    assert!(error.to_string().contains("24 of 64 threads have ended, 40 are at a barrier"), "{error}");
    let y = Buffer::<f32>::uninit(&device, "test", 32).unwrap();
    let error =
        device.launch("test", &SOURCE, "two_exchanges", Grid::of(1, 32), &[Arg::from(&y)]).unwrap_err();
    assert!(error.to_string().contains("different exchanges"), "{error}");
}

#[test]
fn a_tile_is_a_product() {
    for order in [0, 1, 5] {
        let Some(device) = device(order) else { return };
        let (a, b) = (narrow(&values(1, 256, 1.0)), narrow(&values(2, 128, 1.0)));
        let (da, db) = (Buffer::of(&device, "test", &a).unwrap(), Buffer::of(&device, "test", &b).unwrap());
        let c = Buffer::<f32>::uninit(&device, "test", 128).unwrap();
        let args = [Arg::from(&da), Arg::from(&db), Arg::from(&c)];
        device.launch("test", &SOURCE, "tile", Grid::of(1, 32), &args).unwrap();
        let (a, b, c) = (widen(&a), widen(&b), c.download("test").unwrap());
        for i in 0..16 {
            for j in 0..8 {
                let sum: f64 = (0..16).map(|k| f64::from(a[i * 16 + k]) * f64::from(b[k * 8 + j])).sum();
                assert!((f64::from(c[i * 8 + j]) - sum).abs() < 1e-5, "{i} {j}");
            }
        }
    }
}

#[test]
fn a_background_copy_is_late() {
    let Some(device) = device(0) else { return };
    let x = Buffer::of(&device, "test", &values(1, 128, 1.0)).unwrap();
    for wait in [true, false] {
        let y = Buffer::<f32>::uninit(&device, "test", 128).unwrap();
        let args = [Arg::from(&x), Arg::from(&y), wait.into()];
        device.launch("test", &SOURCE, "background", Grid::of(1, 32), &args).unwrap();
        let (x, y) = (x.download("test").unwrap(), y.download("test").unwrap());
        assert_eq!(y[..56] == x[4..60], wait);
        assert_eq!(y[64..100].iter().all(|&y| y == 0.0), wait);
    }
}

#[test]
fn memory_runs_out_by_name() {
    let Some(device) = device(0) else { return };
    let error = Buffer::<f32>::uninit(&device, "somebody", MEMORY).err().unwrap();
    assert_eq!(error.to_string(), "cuda: somebody asks for 16384.0 MiB, 4096.0 of 4096.0 MiB are free");
}

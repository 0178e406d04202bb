//! What the tests on a device share.

use super::{Buffer, Device, Element, Error, Float};

pub(crate) use crate::testing::values;

/// Runs a test on the emulated card, threads in several orders; where `R1_CUDA` says `card` or `interpreted`, on that. Says so where there is
/// none.
pub(crate) fn each_device(test: impl Fn(&Device)) {
    let how = std::env::var("R1_CUDA").unwrap_or_default();
    match how.as_str() {
        "card" => test(&Device::card(0).expect("R1_CUDA=card asks for a card")),
        "interpreted" => each([0, 7].map(Device::interpreted), test),
        _ => each([0, 1, 7].map(Device::emulated), test),
    }
}

fn each<const N: usize>(devices: [Result<Device, Error>; N], test: impl Fn(&Device)) {
    for device in devices {
        match device {
            Ok(device) => test(&device),
            Err(error) => return eprintln!("skipped: {error}"),
        }
    }
}

/// A copy on the device.
pub(crate) fn on<T: Element>(device: &Device, values: &[T]) -> Buffer<T> {
    Buffer::of(device, "test", values).expect("a small buffer")
}

/// To bf16.
pub(crate) fn narrow(x: &[f32]) -> Vec<u16> {
    x.iter().map(|&x| u16::narrow(x)).collect()
}

/// From bf16.
pub(crate) fn widen(x: &[u16]) -> Vec<f32> {
    x.iter().map(|x| x.widen()).collect()
}

/// Fails unless every value is within `tolerance` of the greatest magnitude of `expected`.
pub(crate) fn near(what: &str, x: &[f32], expected: &[f32], tolerance: f64) {
    crate::testing::close(what, x, &crate::testing::wide(expected), tolerance);
}

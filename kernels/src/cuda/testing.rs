//! What the tests on a device share.

use super::{Buffer, Device, Element, Error, Float};

mod both;

pub(crate) use crate::testing::values;

/// Runs a test on the devices that the CPU plays: emulated, threads in several orders, and emulated and interpreted side by side; where
/// `R1_CUDA` says `card` or `interpreted`, on that, the latter in several orders. Says so where there is none.
pub(crate) fn each_device(test: impl Fn(&Device)) {
    let how = std::env::var("R1_CUDA").unwrap_or_default();
    let devices: Vec<fn() -> Result<Device, Error>> = match how.as_str() {
        "card" => vec![|| Ok(Device::card(0).expect("R1_CUDA=card asks for a card"))],
        "interpreted" => {
            vec![|| Device::interpreted(0), || Device::interpreted(1), || Device::interpreted(7)]
        }
        _ => vec![|| Device::emulated(0), || Device::emulated(1), || {
            both::device(7).or_else(|missing| {
                eprintln!("skipped: interpreted: {missing}");
                Device::emulated(7)
            })
        }],
    };
    for device in devices {
        match device() {
            Ok(device) => test(&device),
            Err(error) => eprintln!("skipped: {error}"),
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

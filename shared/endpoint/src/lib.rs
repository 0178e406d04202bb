//! Somebody else's engine: an OpenAI-compatible server (vLLM, SGLang, llama.cpp, or one for hire), asked with patience.
//!
//! [`Flags`] say where it is, [`Client`] asks it one question at a time, [`in_order`] asks many at once and hands the answers
//! out in the order of the questions. A failure that may pass (a dropped connection, 429, 5xx, an answer that broke off) is
//! tried again after a growing wait, or after the wait that the server asks for; what a server does not understand is left
//! out for good; anything else is an error in the server's words.
//!
//! The key comes from an environment variable, never from the command line, which every user of the machine can read. It is
//! sent to the address that was named and nowhere that it redirects to.

mod answer;
mod client;
mod flags;
mod order;
mod patience;
mod wire;

pub use answer::{Choice, Finish};
pub use client::{Client, Prompt, Question};
pub use flags::{FLAGS, Flags};
pub use order::in_order;

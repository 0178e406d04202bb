//! Parts that compare a completion with the others of its group.

use crate::judge::Rewarded;
use crate::part::Part;
use crate::run::{Batch, Batches, Item};
use crate::settings::Settings;
use r1_verify::length;
use std::sync::Arc;

/// Sends the rows through, each with its [`Part::GroupLength`]. A group is a run of rows with one id and waits until it is
/// whole, or its round is over; bad rows wait with it and belong to none.
pub fn through(batches: Batches, settings: Arc<Settings>) -> Batches {
    let mut batches = Some(batches);
    let mut group: Vec<Item> = Vec::new();
    Box::new(std::iter::from_fn(move || {
        let mut whole = Vec::new();
        loop {
            match batches.as_mut()?.next() {
                Some(Ok(batch)) => {
                    for item in batch.items {
                        if let (Ok(rewarded), Some(first)) = (&item, id(&group))
                            && rewarded.group != first
                        {
                            whole.append(&mut compared(std::mem::take(&mut group), &settings));
                        }
                        group.push(item);
                    }
                    if batch.ends_round {
                        whole.append(&mut compared(std::mem::take(&mut group), &settings));
                    }
                    if batch.ends_round || !whole.is_empty() {
                        return Some(Ok(Batch { items: whole, ends_round: batch.ends_round }));
                    }
                }
                Some(Err(error)) => {
                    batches = None;
                    return Some(Err(error));
                }
                None => {
                    batches = None;
                    let items = compared(std::mem::take(&mut group), &settings);
                    return Some(Ok(Batch { items, ends_round: false }));
                }
            }
        }
    }))
}

/// The id of the group's rows, where it has any.
fn id(group: &[Item]) -> Option<Option<String>> {
    group.iter().find_map(|item| item.as_ref().ok()).map(|rewarded| rewarded.group.clone())
}

/// A whole group with its part.
fn compared(group: Vec<Item>, settings: &Settings) -> Vec<Item> {
    let lengths = || group.iter().filter_map(|item| item.as_ref().ok()).map(|rewarded| rewarded.length);
    let (least, greatest) = (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0));
    let with_part = |mut rewarded: Rewarded| {
        if let Some(right) = rewarded.right {
            let value = length::in_group(rewarded.length, least, greatest, right);
            rewarded.add(&Part::GroupLength, value, settings)?;
        }
        Ok(rewarded)
    };
    group.into_iter().map(|item| item.and_then(with_part)).collect()
}

// SPDX-License-Identifier: Apache-2.0
//! Hugging Face's tokenizers and chat templates behind a C ABI; `rust_api.h` is its contract. Nothing panics across it:
//! a panic becomes the error message of the call.

mod chat;
mod unicode;

use std::panic::{catch_unwind, AssertUnwindSafe};
use tokenizers::Tokenizer;

/// Bytes given to the caller, who returns them with `ds_text_free`.
#[repr(C)]
pub struct DsText {
    data: *mut u8,
    size: usize,
}

/// Token ids given to the caller, who returns them with `ds_ids_free`.
#[repr(C)]
pub struct DsIds {
    data: *mut u32,
    size: usize,
}

pub struct DsTokenizer(Tokenizer);

fn give<T>(values: Vec<T>) -> (*mut T, usize) {
    let slice = Box::leak(values.into_boxed_slice());
    (slice.as_mut_ptr(), slice.len())
}

unsafe fn take_back<T>(data: *mut T, size: usize) {
    if !data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(data, size)));
    }
}

pub(crate) fn give_text(text: String) -> DsText {
    let (data, size) = give(text.into_bytes());
    DsText { data, size }
}

/// A slice of the caller's; an empty one may have a null pointer.
pub(crate) unsafe fn borrow<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 {
        return &[];
    }
    std::slice::from_raw_parts(data, size)
}

/// Runs `work`; an error or a panic is written to `error` and answered with None.
pub(crate) unsafe fn guarded<T>(error: *mut DsText, work: impl FnOnce() -> Result<T, String>) -> Option<T> {
    let message = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => return Some(value),
        Ok(Err(message)) => message,
        Err(panic) => match panic.downcast_ref::<String>() {
            Some(text) => format!("internal error: {text}"),
            None => match panic.downcast_ref::<&str>() {
                Some(text) => format!("internal error: {text}"),
                None => "internal error".to_string(),
            },
        },
    };
    *error = give_text(message);
    None
}

fn load(json: &[u8]) -> Result<DsTokenizer, String> {
    let mut tokenizer = Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
    tokenizer.with_truncation(None).map_err(|e| e.to_string())?;
    tokenizer.with_padding(None);
    Ok(DsTokenizer(tokenizer))
}

#[no_mangle]
pub unsafe extern "C" fn ds_tokenizer_load(json: *const u8, size: usize, error: *mut DsText) -> *mut DsTokenizer {
    guarded(error, || load(borrow(json, size))).map_or(std::ptr::null_mut(), |t| Box::into_raw(Box::new(t)))
}

#[no_mangle]
pub unsafe extern "C" fn ds_tokenizer_free(tokenizer: *mut DsTokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ds_tokenizer_encode(
    tokenizer: *const DsTokenizer,
    text: *const u8,
    size: usize,
    add_special_tokens: bool,
    ids: *mut DsIds,
    error: *mut DsText,
) -> bool {
    let encoded = guarded(error, || {
        let text = std::str::from_utf8(borrow(text, size)).map_err(|e| format!("text is not UTF-8: {e}"))?;
        let encoding = (*tokenizer)
            .0
            .encode_fast(text, add_special_tokens)
            .map_err(|e| e.to_string())?;
        Ok(encoding.get_ids().to_vec())
    });
    encoded
        .map(|values| {
            let (data, size) = give(values);
            *ids = DsIds { data, size };
        })
        .is_some()
}

#[no_mangle]
pub unsafe extern "C" fn ds_tokenizer_decode(
    tokenizer: *const DsTokenizer,
    ids: *const u32,
    size: usize,
    skip_special_tokens: bool,
    text: *mut DsText,
    error: *mut DsText,
) -> bool {
    let decoded = guarded(error, || {
        (*tokenizer)
            .0
            .decode(borrow(ids, size), skip_special_tokens)
            .map_err(|e| e.to_string())
    });
    decoded.map(|value| *text = give_text(value)).is_some()
}

/// False if no token has this id.
#[no_mangle]
pub unsafe extern "C" fn ds_tokenizer_token(tokenizer: *const DsTokenizer, id: u32, text: *mut DsText) -> bool {
    let token = catch_unwind(AssertUnwindSafe(|| (*tokenizer).0.id_to_token(id)))
        .ok()
        .flatten();
    token.map(|value| *text = give_text(value)).is_some()
}

/// One more than the highest id, added tokens included.
#[no_mangle]
pub unsafe extern "C" fn ds_tokenizer_vocabulary_size(tokenizer: *const DsTokenizer) -> u32 {
    let highest = catch_unwind(AssertUnwindSafe(|| (*tokenizer).0.get_vocab(true).into_values().max()));
    highest.ok().flatten().map_or(0, |id| id.saturating_add(1))
}

#[no_mangle]
pub unsafe extern "C" fn ds_text_free(text: DsText) {
    take_back(text.data, text.size);
}

#[no_mangle]
pub unsafe extern "C" fn ds_ids_free(ids: DsIds) {
    take_back(ids.data, ids.size);
}

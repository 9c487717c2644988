// SPDX-License-Identifier: Apache-2.0
//! Character properties from the standard library's Unicode tables.

use crate::{borrow, give_text, DsText};

#[no_mangle]
pub unsafe extern "C" fn ds_lowercase(text: *const u8, size: usize) -> DsText {
    give_text(String::from_utf8_lossy(borrow(text, size)).to_lowercase())
}

#[no_mangle]
pub extern "C" fn ds_is_word_character(character: u32) -> bool {
    char::from_u32(character).is_some_and(|c| c.is_alphanumeric() || c == '_')
}

#[no_mangle]
pub extern "C" fn ds_is_space(character: u32) -> bool {
    char::from_u32(character).is_some_and(char::is_whitespace)
}

// SPDX-License-Identifier: Apache-2.0
//! Chat templates, rendered as transformers does (utils/chat_template_utils.py): blocks trimmed, Python's methods of
//! strings, lists and dicts, its way of writing JSON, and `raise_exception` and `strftime_now`.

use crate::{borrow, give_text, guarded, DsText};
use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind, State};
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

/// Steps that one rendering may take: templates come with checkpoints, and what they loop over with requests.
const FUEL: u64 = 20_000_000;
const NAME: &str = "chat";

pub struct DsChatTemplate(Environment<'static>);

/// json.dumps without `indent`: blanks after commas and colons.
struct Spaced(CompactFormatter);

impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + std::io::Write>(&mut self, to: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + std::io::Write>(&mut self, to: &mut W, first: bool) -> std::io::Result<()> {
        if first { Ok(()) } else { to.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, to: &mut W) -> std::io::Result<()> {
        to.write_all(b": ")
    }
}

fn write_json(value: &serde_json::Value, formatter: impl Formatter) -> Result<String, Error> {
    let failed = |e: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, e.to_string());
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    value.serialize(&mut serializer).map_err(|e| failed(&e))?;
    String::from_utf8(bytes).map_err(|e| failed(&e))
}

fn sorted(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, one)| (key, sorted(one))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            serde_json::Value::Object(entries.into_iter().collect())
        }
        serde_json::Value::Array(list) => serde_json::Value::Array(list.into_iter().map(sorted).collect()),
        other => other,
    }
}

fn escape_beyond_ascii(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            escaped.push(character);
        } else {
            let mut units = [0u16; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

fn tojson(value: Value, options: Kwargs) -> Result<Value, Error> {
    let mut json = serde_json::to_value(&value).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    if options.get::<Option<bool>>("sort_keys")?.unwrap_or(false) {
        json = sorted(json);
    }
    let text = match options.get::<Option<usize>>("indent")? {
        Some(indent) => write_json(&json, PrettyFormatter::with_indent(" ".repeat(indent.min(64)).as_bytes()))?,
        None => write_json(&json, Spaced(CompactFormatter))?,
    };
    let escape = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    options.assert_all_used()?;
    Ok(Value::from(if escape { escape_beyond_ascii(&text) } else { text }))
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// The local time, as Python's datetime.now().strftime().
fn strftime_now(format: String) -> Result<String, Error> {
    let failed = || Error::new(ErrorKind::InvalidOperation, format!("strftime_now cannot write '{format}'"));
    let pattern = std::ffi::CString::new(format.clone()).map_err(|_| failed())?;
    let mut text = [0u8; 256];
    let size = unsafe {
        let now = libc::time(std::ptr::null_mut());
        let mut parts: libc::tm = std::mem::zeroed();
        if libc::localtime_r(&now, &mut parts).is_null() {
            return Err(failed());
        }
        libc::strftime(text.as_mut_ptr().cast(), text.len(), pattern.as_ptr(), &parts)
    };
    if size == 0 && !format.is_empty() {
        return Err(failed());
    }
    String::from_utf8(text[..size].to_vec()).map_err(|_| failed())
}

/// Python's methods, which minijinja's values lack. Positions in a text are counted in characters, as slices count them.
fn call_method(state: &State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (Some(text), "find" | "rfind") = (value.as_str(), name) else {
        return minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments);
    };
    let (wanted,): (&str,) = minijinja::value::from_args(arguments)?;
    let found = if name == "find" { text.find(wanted) } else { text.rfind(wanted) };
    Ok(Value::from(found.map_or(-1, |bytes| text[..bytes].chars().count() as i64)))
}

/// A message with its line and what it was caused by.
fn message_of(error: Error) -> String {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(one) = cause {
        message.push_str(": ");
        message.push_str(&one.to_string());
        cause = one.source();
    }
    message
}

fn load(text: &[u8]) -> Result<DsChatTemplate, String> {
    let text = std::str::from_utf8(text).map_err(|e| format!("not UTF-8: {e}"))?;
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(call_method);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    environment.add_template_owned(NAME, text.to_string()).map_err(message_of)?;
    Ok(DsChatTemplate(environment))
}

fn render(template: &DsChatTemplate, context: &[u8]) -> Result<String, String> {
    let context: serde_json::Value = serde_json::from_slice(context).map_err(|e| e.to_string())?;
    let template = template.0.get_template(NAME).map_err(message_of)?;
    template.render(Value::from_serialize(&context)).map_err(message_of)
}

#[no_mangle]
pub unsafe extern "C" fn ds_chat_template_load(
    text: *const u8,
    size: usize,
    error: *mut DsText,
) -> *mut DsChatTemplate {
    guarded(error, || load(borrow(text, size))).map_or(std::ptr::null_mut(), |t| Box::into_raw(Box::new(t)))
}

#[no_mangle]
pub unsafe extern "C" fn ds_chat_template_free(template: *mut DsChatTemplate) {
    if !template.is_null() {
        drop(Box::from_raw(template));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ds_chat_template_render(
    template: *const DsChatTemplate,
    context: *const u8,
    size: usize,
    text: *mut DsText,
    error: *mut DsText,
) -> bool {
    let rendered = guarded(error, || render(&*template, borrow(context, size)));
    rendered.map(|value| *text = give_text(value)).is_some()
}

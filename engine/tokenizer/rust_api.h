// SPDX-License-Identifier: Apache-2.0
// The C ABI of rust/src/lib.rs: no other file of ours includes it but the wrappers in this folder. Texts are UTF-8 with
// a size, not terminated. Nothing unwinds across it; functions with an `error` write a message there when they fail.
// Handles may be used by several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>

struct DsChatTemplate;
struct DsTokenizer;

extern "C" {

struct DsText {  // to be freed with ds_text_free
  uint8_t* data;
  size_t size;
};

struct DsIds {  // to be freed with ds_ids_free
  uint32_t* data;
  size_t size;
};

DsTokenizer* ds_tokenizer_load(const uint8_t* json, size_t size, DsText* error);  // null on failure
void ds_tokenizer_free(DsTokenizer* tokenizer);
bool ds_tokenizer_encode(const DsTokenizer* tokenizer, const uint8_t* text, size_t size, bool add_special_tokens,
                         DsIds* ids, DsText* error);
bool ds_tokenizer_decode(const DsTokenizer* tokenizer, const uint32_t* ids, size_t size, bool skip_special_tokens,
                         DsText* text, DsText* error);
bool ds_tokenizer_token(const DsTokenizer* tokenizer, uint32_t id, DsText* text);  // false if there is none
uint32_t ds_tokenizer_vocabulary_size(const DsTokenizer* tokenizer);

DsChatTemplate* ds_chat_template_load(const uint8_t* text, size_t size, DsText* error);  // null on failure
void ds_chat_template_free(DsChatTemplate* chat);
// `context`: a JSON object of the template's variables.
bool ds_chat_template_render(const DsChatTemplate* chat, const uint8_t* context, size_t size, DsText* text,
                             DsText* error);

DsText ds_lowercase(const uint8_t* text, size_t size);
bool ds_is_word_character(uint32_t character);
bool ds_is_space(uint32_t character);

void ds_text_free(DsText text);
void ds_ids_free(DsIds ids);

}  // extern "C"

//! Text of language models: from a folder's files to ids and back.

#[path = "../common/mod.rs"]
mod common;

mod chat;
mod stops;
mod tokenizer;
mod wrong_files;

//! Reads secrets out of the file: the form in which one is given, then the secret itself.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Fault;
use super::keys;
use super::paths::Environment;
use super::read::{Section, Source, wrong_type};
use super::schema::Form;
use super::secret::Secret;
use super::secret_source::SecretSource;

/// The secret under a key that must be there. Without an environment only its form is checked.
pub(super) fn secret(section: &Section<'_>, name: &str, environment: Option<&Environment>) -> Option<Secret> {
    fetched(section.source, section.place(name), section.required(name)?, environment)
}

/// The secrets in a list, each `None` where it could not be had or was not to be fetched.
pub(super) fn secrets(
    section: &Section<'_>,
    name: &str,
    environment: Option<&Environment>,
) -> Vec<Option<Secret>> {
    let Some(value) = section.value(name) else { return Vec::new() };
    let Some(items) = value.get_ref().as_array() else {
        section.note(name, wrong_type(Form::Secrets, value.get_ref()));
        return Vec::new();
    };
    let place = |index| format!("{}[{index}]", section.place(name));
    items.iter().enumerate().map(|(i, item)| fetched(section.source, place(i), item, environment)).collect()
}

fn fetched<'t>(
    source: &'t Source<'t>,
    place: String,
    value: &'t Spanned<DeValue<'t>>,
    environment: Option<&Environment>,
) -> Option<Secret> {
    let at = value.span().start;
    form(source, &place, value)
        .map_err(|fault| source.note(at, &place, fault))
        .ok()??
        .fetch(environment?, source.directory())
        .map_err(|fault| source.note(at, &place, fault))
        .ok()
}

/// How the secret is given; `None` when what is wrong has been noted at its own place.
fn form<'t>(
    source: &'t Source<'t>,
    place: &str,
    value: &'t Spanned<DeValue<'t>>,
) -> Result<Option<SecretSource>, Fault> {
    if let Some(table) = value.get_ref().as_table() {
        return table_form(source, place, value.span().start, table);
    }
    let text = value.get_ref().as_str().ok_or_else(|| wrong_type(Form::Secret, value.get_ref()))?;
    let secret = Secret::new(text)?;
    source.admit_literal_secret().map_err(|fault| {
        fault.help("run `chmod 600` on the file, or give the key as { env = … } or { file = … }")
    })?;
    Ok(Some(SecretSource::Literal(secret)))
}

fn table_form<'t>(
    source: &'t Source<'t>,
    place: &str,
    at: usize,
    table: &'t DeTable<'t>,
) -> Result<Option<SecretSource>, Fault> {
    let section = Section::open(source, &keys::SECRET, place.to_owned(), at, table);
    let given: Vec<&str> = keys::SECRET.names().filter(|name| section.value(name).is_some()).collect();
    match given.as_slice() {
        ["env"] => section.text("env").map(variable_name).transpose(),
        ["file"] => Ok(section.text("file").map(SecretSource::File)),
        ["command"] => Ok(section.words("command").map(SecretSource::Command)),
        // An unknown key was noted, and is probably the one that is missed here.
        [] if !table.is_empty() => Ok(None),
        _ => Err(Fault::new("must have exactly one of env, file, command")),
    }
}

fn variable_name(name: String) -> Result<SecretSource, Fault> {
    let starts_well = !name.starts_with(|c: char| c.is_ascii_digit());
    if starts_well && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(SecretSource::Env(name))
    } else {
        Err(Fault::new("env must be the name of an environment variable, not a key")
            .help("as { env = \"ANTHROPIC_API_KEY\" }"))
    }
}

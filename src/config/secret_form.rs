//! Reads secrets out of the file: the form in which one is given, then the secret itself.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::client_token::ClientToken;
use super::error::Fault;
use super::keys;
use super::paths::Environment;
use super::read::{Section, Source, wrong_type};
use super::schema::{Form, Group};
use super::secret::Secret;
use super::secret_source::SecretSource;
use super::values;

/// The secret under a key that must be there. Without an environment only its form is checked.
pub(super) fn secret(section: &Section<'_>, name: &str, environment: Option<&Environment>) -> Option<Secret> {
    fetched(section.source, &keys::SECRET, section.place(name), section.required(name)?, environment)
}

/// The client tokens in the order of the file, each `None` where it could not be had or was not to be fetched.
pub(super) fn client_tokens(
    section: &Section<'_>,
    environment: Option<&Environment>,
) -> Vec<Option<ClientToken>> {
    let name = "client_tokens";
    let Some(value) = section.value(name) else { return Vec::new() };
    let Some(items) = value.get_ref().as_array() else {
        section.note(name, wrong_type(Form::Secrets, value.get_ref()));
        return Vec::new();
    };
    let place = |index| format!("{}[{index}]", section.place(name));
    let names: Vec<Option<String>> = (items.iter().enumerate())
        .map(|(index, item)| {
            let given = item.get_ref().as_table().and_then(|table| table.get("name"));
            let Some(given) = given else { return Some(format!("token-{}", index + 1)) };
            let note =
                |fault| section.source.note(given.span().start, &format!("{}.name", place(index)), fault);
            token_name(given).map_err(note).ok()
        })
        .collect();
    for (index, name) in names.iter().enumerate().filter(|(_, name)| name.is_some()) {
        if let Some(first) = names.iter().take(index).position(|other| other == name) {
            let what = format!("has the name of {}", place(first));
            let help = "a token without a name is called after its place, as token-2";
            section.source.note(items[index].span().start, &place(index), Fault::new(what).help(help));
        }
    }
    let mut tokens: Vec<Option<ClientToken>> = Vec::with_capacity(items.len());
    for (index, (item, name)) in items.iter().zip(names).enumerate() {
        let secret = fetched(section.source, &keys::CLIENT_TOKEN, place(index), item, environment);
        let token = name.zip(secret).map(|(name, secret)| ClientToken::new(&name, &secret));
        let is_same = |other: &Option<ClientToken>| matches!((other, &token), (Some(other), Some(token)) if other.is_same_token(token));
        if let Some(first) = tokens.iter().position(is_same) {
            let fault = Fault::new(format!("is the same token as {}", place(first)));
            section.source.note(item.span().start, &place(index), fault);
        }
        tokens.push(token);
    }
    tokens
}

fn token_name(value: &Spanned<DeValue<'_>>) -> Result<String, Fault> {
    let text = value.get_ref().as_str().ok_or_else(|| wrong_type(Form::Name, value.get_ref()))?;
    values::name(text).map(str::to_owned)
}

fn fetched<'t>(
    source: &'t Source<'t>,
    group: &'static Group,
    place: String,
    value: &'t Spanned<DeValue<'t>>,
    environment: Option<&Environment>,
) -> Option<Secret> {
    let at = value.span().start;
    form(source, group, &place, value)
        .map_err(|fault| source.note(at, &place, fault))
        .ok()??
        .fetch(environment?, source.directory())
        .map_err(|fault| source.note(at, &place, fault))
        .ok()
}

/// How the secret is given; `None` when what is wrong has been noted at its own place.
fn form<'t>(
    source: &'t Source<'t>,
    group: &'static Group,
    place: &str,
    value: &'t Spanned<DeValue<'t>>,
) -> Result<Option<SecretSource>, Fault> {
    if let Some(table) = value.get_ref().as_table() {
        return table_form(source, group, place, value.span().start, table);
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
    group: &'static Group,
    place: &str,
    at: usize,
    table: &'t DeTable<'t>,
) -> Result<Option<SecretSource>, Fault> {
    let section = Section::open(source, group, place.to_owned(), at, table);
    let given: Vec<&str> = keys::SECRET.names().filter(|name| section.value(name).is_some()).collect();
    match given.as_slice() {
        ["env"] => section.text("env").map(variable_name).transpose(),
        ["file"] => Ok(section.text("file").map(SecretSource::File)),
        ["command"] => Ok(section.words("command").map(SecretSource::Command)),
        // An unknown key was noted, and is probably the one that is missed here.
        [] if table.keys().any(|key| group.key(key.get_ref()).is_none()) => Ok(None),
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

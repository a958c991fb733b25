//! Walks the parsed TOML beside the schema. Whatever is wrong is noted with its place, and a stand-in
//! is returned, so that one run finds every problem; settings made of stand-ins are never given out.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::base_url::BaseUrl;
use super::choices::Choice;
use super::error::{Fault, Problem};
use super::glob::ModelGlob;
use super::keys::GROUPS;
use super::model_map::ModelMap;
use super::proxy_url::ProxyUrl;
use super::schema::{Fallback, Form, Group, Key};
use super::values;

/// The text under the reader, and the problems found in it.
pub(super) struct Source<'t> {
    pub text: &'t str,
    pub path: &'t Path,
    /// The file's mode, where others can read it: a literal secret in it is then refused.
    pub open_to_others: Option<u32>,
    pub problems: RefCell<Vec<Problem>>,
}

impl Source<'_> {
    /// Where relative paths in the file start.
    pub fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Refuses a secret that is written out in a file that others can read.
    pub fn admit_literal_secret(&self) -> Result<(), Fault> {
        let Some(mode) = self.open_to_others else { return Ok(()) };
        let what = format!("is written out, and other users can read the file (mode {mode:04o})");
        Err(Fault::new(what).help("run `chmod 600` on the file"))
    }

    pub fn note(&self, offset_bytes: usize, key: &str, fault: Fault) {
        let before = self.text.as_bytes().get(..offset_bytes).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        self.problems.borrow_mut().push(Problem { line, key: key.to_owned(), fault });
    }
}

/// One table of the file with the keys that the schema allows in it.
pub(super) struct Section<'t> {
    pub source: &'t Source<'t>,
    /// Dotted, as `clusters.work.health`; empty for the file itself.
    pub path: String,
    /// Where the table begins: the place of a key that is missing.
    pub at: usize,
    group: &'static Group,
    table: Option<&'t DeTable<'t>>,
}

impl<'t> Section<'t> {
    /// Notes every key that the group doesn't know.
    pub fn open(
        source: &'t Source<'t>,
        group: &'static Group,
        path: String,
        at: usize,
        table: &'t DeTable<'t>,
    ) -> Self {
        let section = Section { source, path, at, group, table: Some(table) };
        for key in table.keys() {
            let name = key.get_ref();
            if group.key(name).is_none() {
                source.note(key.span().start, &section.path, unknown_key(name, group));
            }
        }
        section
    }

    /// The place of a key: dotted.
    pub fn place(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    pub fn note(&self, name: &str, fault: Fault) {
        let at = self.value(name).map_or(self.at, |value| value.span().start);
        self.source.note(at, &self.place(name), fault);
    }

    pub fn value(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.table?.get(name)
    }

    /// The table under the name; all defaults when the file has none.
    pub fn table(&self, name: &str, group: &'static Group) -> Section<'t> {
        let path = self.place(name);
        match self.value(name).map(|value| (value.span().start, value.get_ref())) {
            Some((at, DeValue::Table(table))) => Section::open(self.source, group, path, at, table),
            Some((at, other)) => {
                self.source.note(at, &path, wrong_type(Form::Table, other));
                Section { source: self.source, path, at, group, table: None }
            }
            None => Section { source: self.source, path, at: self.at, group, table: None },
        }
    }

    pub fn duration(&self, name: &str) -> Duration {
        self.read(name, |form, value| match values::duration(text(form, value)?)? {
            Duration::ZERO if form == Form::Duration => Err(Fault::new("must be more than zero")),
            duration => Ok(duration),
        })
        .unwrap_or_default()
    }

    /// A number in the range that the schema gives, which the type holds.
    pub fn count<T: TryFrom<u32> + Default>(&self, name: &str) -> T {
        self.read(name, |form, value| {
            let DeValue::Integer(number) = value else { return Err(wrong_type(form, value)) };
            let number = u32::from_str_radix(number.as_str(), number.radix()).ok();
            let Form::Count { min, max } = form else { return Err(wrong_type(form, value)) };
            number
                .filter(|number| (min..=max).contains(number))
                .and_then(|number| T::try_from(number).ok())
                .ok_or_else(|| Fault::new(format!("must be {}", form.describe())))
        })
        .unwrap_or_default()
    }

    /// In bytes.
    pub fn size(&self, name: &str) -> u64 {
        self.read(name, |form, value| match value.as_integer() {
            Some(number) => values::size_in_range(u64::from_str_radix(number.as_str(), number.radix()).ok()),
            None => values::size(text(form, value)?),
        })
        .unwrap_or_default()
    }

    /// In millionths.
    pub fn fraction_millionths(&self, name: &str) -> u32 {
        self.read(name, |form, value| {
            let float = value.as_float().and_then(|number| number.as_str().parse().ok());
            let whole = value
                .as_integer()
                .and_then(|number| u32::from_str_radix(number.as_str(), number.radix()).ok())
                .map(f64::from);
            let number = float.or(whole);
            values::fraction_millionths(number.ok_or_else(|| wrong_type(form, value))?)
        })
        .unwrap_or_default()
    }

    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.read(name, |form, value| {
            let address = values::address(text(form, value)?)?;
            if form == Form::LoopbackAddress && !address.ip().is_loopback() {
                return Err(Fault::new("must be a loopback address").help("it asks nobody for a token"));
            }
            Ok(address)
        })
    }

    pub fn choice<C: Choice>(&self, name: &str) -> Option<C> {
        self.read(name, |form, value| {
            let word = text(form, value)?;
            let Form::Choice(words) = form else { return Err(wrong_type(form, value)) };
            C::from_word(word).ok_or_else(|| Fault::not_allowed(word, words))
        })
    }

    pub fn flag(&self, name: &str) -> bool {
        self.read(name, |form, value| value.as_bool().ok_or_else(|| wrong_type(form, value)))
            .unwrap_or_default()
    }

    pub fn name(&self, name: &str) -> Option<String> {
        self.read(name, |form, value| values::name(text(form, value)?).map(str::to_owned))
    }

    pub fn base_url(&self, name: &str) -> Option<BaseUrl> {
        self.read(name, |form, value| BaseUrl::new(text(form, value)?))
    }

    pub fn proxy_url(&self, name: &str) -> Option<ProxyUrl> {
        self.read(name, |form, value| {
            let proxy = ProxyUrl::new(text(form, value)?)?;
            if proxy.credentials().is_some() {
                self.source.admit_literal_secret()?;
            }
            Ok(proxy)
        })
    }

    /// A text that is not empty and has no control characters.
    pub fn text(&self, name: &str) -> Option<String> {
        self.read(name, |form, value| match text(form, value)? {
            "" => Err(Fault::new("must not be empty")),
            text if text.contains(char::is_control) => Err(Fault::new("must not hold control characters")),
            text => Ok(text.to_owned()),
        })
    }

    pub fn words(&self, name: &str) -> Option<Vec<String>> {
        self.read(name, |form, value| match list(form, value, |word| text(form, word).map(str::to_owned))? {
            words if words.first().is_none_or(String::is_empty) => Err(Fault::new("must name a program")),
            words => Ok(words),
        })
    }

    pub fn globs(&self, name: &str) -> Vec<ModelGlob> {
        self.read(name, |form, value| match list(form, value, |item| ModelGlob::new(text(form, item)?))? {
            globs if globs.is_empty() => Err(Fault::new("allows no model").help("leave it out to allow all")),
            globs => Ok(globs),
        })
        .unwrap_or_default()
    }

    pub fn model_map(&self, name: &str) -> ModelMap {
        self.read(name, |form, value| {
            let table = value.as_table().ok_or_else(|| wrong_type(form, value))?;
            let entries = table.iter().map(|(pattern, name)| {
                Ok((ModelGlob::new(pattern.get_ref())?, text(form, name.get_ref())?.to_owned()))
            });
            ModelMap::new(entries.collect::<Result<Vec<_>, Fault>>()?)
        })
        .unwrap_or_default()
    }

    pub fn hosts(&self, name: &str) -> Vec<String> {
        self.read(name, |form, value| list(form, value, |item| values::host(text(form, item)?)))
            .unwrap_or_default()
    }

    /// The value of a key that must be there; notes when it isn't.
    pub fn required(&self, name: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        let value = self.value(name);
        if let (None, Some(key)) = (value, self.group.key(name)) {
            self.note(name, missing(key.form));
        }
        value
    }

    /// The value in the file, else the default, converted; notes what is wrong or missing.
    fn read<T>(&self, name: &str, convert: impl Fn(Form, &DeValue<'_>) -> Result<T, Fault>) -> Option<T> {
        let Key { form, default, .. } = self.group.key(name)?;
        if let Some(value) = self.value(name) {
            return convert(*form, value.get_ref()).map_err(|fault| self.note(name, fault)).ok();
        }
        match default {
            Fallback::Toml(text) => convert(*form, DeValue::parse(text).ok()?.get_ref()).ok(),
            Fallback::Unset(_) => None,
            Fallback::Required => {
                self.note(name, missing(*form));
                None
            }
        }
    }
}

fn text<'v>(form: Form, value: &'v DeValue<'_>) -> Result<&'v str, Fault> {
    value.as_str().ok_or_else(|| wrong_type(form, value))
}

fn list<'v, T>(
    form: Form,
    value: &'v DeValue<'_>,
    convert: impl Fn(&'v DeValue<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let items = value.as_array().ok_or_else(|| wrong_type(form, value))?;
    items.iter().map(|item| convert(item.get_ref())).collect()
}

fn missing(form: Form) -> Fault {
    Fault::new(format!("is missing; it must be {}", form.describe()))
}

pub(super) fn wrong_type(form: Form, value: &DeValue<'_>) -> Fault {
    let article = if value.is_array() || value.is_integer() { "an" } else { "a" };
    Fault::new(format!("must be {}, not {article} {}", form.describe(), value.type_str()))
}

/// A key of another table in the wrong one is told apart from a misspelled one.
fn unknown_key(name: &str, group: &Group) -> Fault {
    let fault = Fault::unknown_key(name, group.names());
    match GROUPS.iter().find(|other| other.key(name).is_some()) {
        Some(home) => fault.help(format!("it belongs in {}", home.header)),
        None => fault,
    }
}

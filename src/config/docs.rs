//! docs/configuration.md, written from the table of keys.

use std::fmt::Write;

use super::keys::{CLUSTER, ENDPOINT, HEALTH, SECRET, TIMEOUTS, TOKEN_NAME};
use super::schema::{Fallback, Key};

const INTRO: &str = r#"# Configuration

This page is written from the table of keys in `src/config/keys.rs`. After a change there:
`UPDATE_DOCS=1 cargo test --lib config`.

The file is the one named with `--config`, else by `$QCC_CONFIG`, else `$XDG_CONFIG_HOME/qcc/config.toml`,
where `$XDG_CONFIG_HOME` is `~/.config` unless set. `qcc config path` says which one it is,
`qcc config init` writes a first one, `qcc config check` tells everything that is wrong with it.

```toml
[clusters.work]

[[clusters.work.endpoints]]
name = "main"
base_url = "https://api.anthropic.com"
api_key = { env = "ANTHROPIC_API_KEY" }

[[clusters.work.endpoints]]
name = "relay"
base_url = "https://relay.example/anthropic"
api_key = { file = "~/.config/qcc/relay.key" }
billing = "per-request"
priority = 2
```

Everything but the endpoints has a default. A key that isn't listed here is an error, so that a
misspelled one doesn't go unnoticed.

- **Durations** are a whole number and a unit: `500ms`, `10s`, `5m`, `1h`.
- **Sizes** are a whole number and a binary unit: `512 KiB`, `64 MiB`, `1 GiB`; a bare number is bytes.
- **Reload**: a running proxy reads the file again on SIGHUP. When it is invalid, what was read before
  stays in force and the log says why. An endpoint that keeps its address, key and protocol keeps
  its state of health.

## Secrets

`api_key` and each of `client_tokens` is either a text, or a table with exactly one of `env`, `file` and `command`:

"#;

const AFTER_SECRETS: &str = r#"
A secret is printable ASCII without spaces, at most 8 KiB. A key written out as a text works too, but
then the file must be readable by its owner only (`chmod 600`), and is refused otherwise.
`qcc proxy start` fetches the secrets of its own cluster only. No command is run unless the rest of
the file is right. Messages never show a secret, nor a line of the file. A key file must be a regular file, or a
link to one, that only its owner can read.

```toml
client_tokens = [{ name = "ci", env = "CI_TOKEN" }, { name = "ada", file = "~/.config/qcc/ada.token" }]
```

Of a client's token only the SHA-256 digest is kept in memory. A client that presents several credentials is let
in when one of them is right, and counts under the first right one, `x-api-key` before `Authorization`.
"#;

/// The whole of docs/configuration.md.
pub fn markdown() -> String {
    let mut page = INTRO.to_owned();
    write_keys(&mut page, SECRET.keys.iter().chain([&TOKEN_NAME]));
    page.push_str(AFTER_SECRETS);
    for group in [&CLUSTER, &HEALTH, &TIMEOUTS, &ENDPOINT] {
        // Writing to a string doesn't fail.
        let _ = write!(page, "\n## `{}`\n\n{}\n\n", group.header, group.about);
        write_keys(&mut page, group.keys);
    }
    page
}

fn write_keys<'k>(page: &mut String, keys: impl IntoIterator<Item = &'k Key>) {
    page.push_str("| Key | Value | Default | What it does, and why this default |\n|---|---|---|---|\n");
    for Key { name, form, default, doc } in keys {
        let default = match default {
            Fallback::Required => "required".to_owned(),
            Fallback::Unset(meaning) => (*meaning).to_owned(),
            Fallback::Toml(value) => format!("`{value}`"),
        };
        let form = form.describe();
        let _ = writeln!(page, "| `{name}` | {form} | {default} | {doc} |");
    }
}

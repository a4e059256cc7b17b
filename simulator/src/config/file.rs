//! From the text of `netsim.yaml` to entries, with all that is wrong with their names and shapes.

use super::{OF_THE_COMMAND_LINE, Takes, commands, options, takes};
use clap::{Arg, Command};
use netsim_shared::diagnostic::{Diagnostic, Place, nearest, place_at};
use netsim_shared::ingest::yaml::{Node, Value};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// What a file says.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, as it is named in messages.
    pub source: Arc<str>,
    /// The folder that its relative paths start from; empty for the one that netsim runs in.
    pub folder: PathBuf,
    /// Its entries, in their order.
    pub entries: Vec<Entry>,
}

/// An option and what it is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The command that it is for; none for every command which has the option.
    pub command: Option<String>,
    /// The long name of the option, without the dashes.
    pub key: String,
    /// Where the key stands.
    pub place: Place,
    /// What it is set to.
    pub value: Written,
}

/// A value as the file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// `true` or `false`.
    Bool(bool, Place),
    /// Text, or a number as it is written.
    Text(String, Place),
    /// Several of them.
    List(Vec<(String, Place)>, Place),
}

impl Written {
    /// Where it stands.
    pub fn place(&self) -> &Place {
        match self {
            Written::Bool(_, place) | Written::Text(_, place) | Written::List(_, place) => place,
        }
    }

    /// The values, one by one.
    pub fn values(&self) -> Vec<(String, Place)> {
        match self {
            Written::Bool(value, place) => vec![(value.to_string(), place.clone())],
            Written::Text(text, place) => vec![(text.clone(), place.clone())],
            Written::List(items, _) => items.clone(),
        }
    }

    /// Whether the option can be set to something of this shape.
    ///
    /// # Errors
    /// What it wants instead.
    pub fn fits(&self, key: &str, arg: &Arg) -> Result<(), Diagnostic> {
        let (wants, example) = match (takes(arg), self) {
            (Some(Takes::Nothing), Written::Bool(..)) | (Some(Takes::Several | Takes::Joined(_)), _) => return Ok(()),
            (Some(Takes::Times), Written::Text(text, _)) if text.parse::<u8>().is_ok() => return Ok(()),
            (Some(Takes::Times), Written::Bool(..)) => return Ok(()),
            (Some(Takes::One), Written::Text(..) | Written::Bool(..)) => return Ok(()),
            (Some(Takes::Nothing), _) => ("is either on or off", format!("write `{key}: true` or `{key}: false`")),
            (Some(Takes::Times), _) => ("is counted", format!("write `{key}: 2`")),
            _ => ("takes one value, not a list", format!("write `{key}: VALUE`")),
        };
        Err(Diagnostic::error(format!("`{key}` {wants}")).at(self.place().clone()).help(example))
    }
}

/// Reads a file. `program` is the built command line.
///
/// # Errors
/// Everything whose name or shape is wrong. Whether a value is good is asked when it is used.
pub fn read(text: &str, source: &str, folder: PathBuf, program: &Command) -> Result<Config, Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { text, source: source.into(), entries: Vec::new(), wrong: Vec::new() };
    match Node::parse_one(text) {
        Err(error) => {
            let place = reader.place(&error.span);
            reader.wrong.push(Diagnostic::error(error.message).at(place));
        }
        Ok(root) => reader.top(&root, program),
    }
    let Reader { source, entries, wrong, .. } = reader;
    if wrong.is_empty() { Ok(Config { source, folder, entries }) } else { Err(wrong) }
}

struct Reader<'t> {
    text: &'t str,
    source: Arc<str>,
    entries: Vec<Entry>,
    wrong: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn top(&mut self, root: &Node<'_>, program: &Command) {
        let entries = match &root.value {
            Value::Null => return,
            Value::Map(entries) => entries,
            _ => {
                let error = Diagnostic::error("a configuration is a map of options").at(self.place(&root.span));
                return self.wrong.push(error.help("write for example `filename: [k8s/]`"));
            }
        };
        for (key, value) in entries {
            let name = key.text().unwrap_or_default().into_owned();
            let args: Vec<&Arg> =
                commands(program).flat_map(options).filter(|(long, _)| *long == name).map(|(_, arg)| arg).collect();
            let command = commands(program).find(|command| command.get_name() == name);
            match (command, args.as_slice()) {
                // What is both is told by its shape.
                (Some(command), args) if args.is_empty() || matches!(value.value, Value::Map(_)) => {
                    self.command(command, key, value, program);
                }
                (None, []) => self.unknown(key, &name, None, program),
                (_, args) => self.entry(None, &name, key, value, args),
            }
        }
    }

    fn command(&mut self, command: &Command, key: &Node<'_>, value: &Node<'_>, program: &Command) {
        let name = command.get_name();
        let entries = match &value.value {
            Value::Null => return,
            Value::Map(entries) => entries,
            _ => {
                let error = Diagnostic::error(format!("`{name}` is a command, and wants a map of its options"));
                let example = options(command).find(|(_, arg)| !arg.is_global_set()).map_or("color", |(long, _)| long);
                let help = format!("write `{name}: {{{example}: …}}`");
                return self.wrong.push(error.at(self.place(&key.span)).help(help));
            }
        };
        for (key, value) in entries {
            let option = key.text().unwrap_or_default().into_owned();
            let args: Vec<&Arg> = options(command).filter(|(long, _)| *long == option).map(|(_, arg)| arg).collect();
            if args.is_empty() {
                self.unknown(key, &option, Some(command), program);
            } else {
                self.entry(Some(name), &option, key, value, &args);
            }
        }
    }

    /// An option that one or several commands have; one of them has to be content with the shape of its value.
    fn entry(&mut self, command: Option<&str>, name: &str, key: &Node<'_>, value: &Node<'_>, args: &[&Arg]) {
        let value = match self.written(name, value, key) {
            Ok(value) => value,
            Err(error) => return self.wrong.push(error),
        };
        let mut wrong = Vec::new();
        for arg in args {
            match value.fits(name, arg) {
                Ok(()) => {
                    wrong.clear();
                    break;
                }
                Err(error) => wrong.push(error),
            }
        }
        self.wrong.extend(wrong.into_iter().next());
        let (command, place) = (command.map(str::to_owned), self.place(&key.span));
        self.entries.push(Entry { command, key: name.to_owned(), place, value });
    }

    fn written(&self, name: &str, node: &Node<'_>, key: &Node<'_>) -> Result<Written, Diagnostic> {
        let place = self.place(&node.span);
        match &node.value {
            Value::Bool(value) => Ok(Written::Bool(*value, place)),
            Value::List(items) => {
                let items: Result<Vec<_>, _> = items
                    .iter()
                    .map(|item| match self.scalar(item) {
                        Some(text) => Ok((text, self.place(&item.span))),
                        None => Err(Diagnostic::error(format!("a value of `{name}` is neither text nor a number"))
                            .at(self.place(&item.span))
                            .help(format!("write `{name}: [FIRST, SECOND]`"))),
                    })
                    .collect();
                Ok(Written::List(items?, place))
            }
            Value::Map(_) => Err(Diagnostic::error(format!("`{name}` is an option, and wants a value, not a map"))
                .at(self.place(&key.span))
                .help(format!("write `{name}: VALUE`"))),
            Value::Null => Err(Diagnostic::error(format!("`{name}` has no value"))
                .at(self.place(&key.span))
                .help("give it one, or take the line out")),
            Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
                Ok(Written::Text(self.scalar(node).unwrap_or_default(), place))
            }
        }
    }

    /// Text; a number as it is written, so that 1.10 stays what it is.
    fn scalar(&self, node: &Node<'_>) -> Option<String> {
        match &node.value {
            Value::Integer(_) | Value::Float(_) => self.text.get(node.span.clone()).map(str::to_owned),
            _ => node.text().map(std::borrow::Cow::into_owned),
        }
    }

    fn unknown(&mut self, key: &Node<'_>, name: &str, of: Option<&Command>, program: &Command) {
        let (message, names) = match of {
            Some(command) => {
                let names: Vec<&str> = options(command).map(|(long, _)| long).collect();
                (format!("`{}` has no option `{name}`", command.get_name()), names)
            }
            None => {
                let longs = commands(program).flat_map(options).map(|(long, _)| long);
                (
                    format!("no command has an option `{name}`"),
                    longs.chain(commands(program).map(Command::get_name)).collect(),
                )
            }
        };
        let error = Diagnostic::error(message).at(self.place(&key.span));
        if OF_THE_COMMAND_LINE.contains(&name) {
            let help = format!("--{name} is for the command line: it says which file is read");
            return self.wrong.push(error.help(help));
        }
        let having = commands(program).find(|c| of.is_some() && options(c).any(|(long, _)| long == name));
        self.wrong.push(match (having, nearest(name, names), of) {
            (Some(command), ..) => error.help(format!("`{}` has it", command.get_name())),
            (None, Some(near), _) => error.help(format!("did you mean `{near}`?")),
            (None, None, Some(command)) => error.help(format!(
                "`netsim {} --help` lists the options; write them without the dashes",
                command.get_name()
            )),
            (None, None, None) => {
                error.help("keys are the long names of options, or commands; see docs/configuration.md")
            }
        });
    }

    fn place(&self, span: &Range<usize>) -> Place {
        place_at(self.source.clone(), self.text, span)
    }
}

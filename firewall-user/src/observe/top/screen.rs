//! What the user has chosen to see.

/// A page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// Some of everything.
    #[default]
    Overview,
    /// Rules with counters.
    Rules,
    /// Sources and destinations of connections.
    Hosts,
    /// Drop reasons.
    Drops,
    /// Connections by state.
    Connections,
}

impl Tab {
    /// All pages, in the order of their keys.
    pub const ALL: [Self; 5] = [Self::Overview, Self::Rules, Self::Hosts, Self::Drops, Self::Connections];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overview => "Overview",
            Self::Rules => "Rules",
            Self::Hosts => "Hosts",
            Self::Drops => "Drops",
            Self::Connections => "Connections",
        }
    }

    /// What its rows can be sorted by, in turn.
    pub const fn orders(self) -> &'static [&'static str] {
        match self {
            Self::Overview => &["packets/s", "bits/s"],
            Self::Rules => &["packets/s", "bits/s", "packets", "line"],
            Self::Hosts => &["bits/s", "packets/s", "connections", "address"],
            Self::Drops => &["packets/s", "packets", "layer"],
            Self::Connections => &["connections", "state"],
        }
    }
}

/// A key that means something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// A letter, digit or sign.
    Character(char),
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// One up.
    Up,
    /// One down.
    Down,
    /// The next page.
    Next,
    /// The page before.
    Previous,
    /// Ctrl-C.
    Interrupt,
}

impl Press {
    /// The keys that a terminal sent. What has no meaning here is nothing.
    pub fn read(bytes: &[u8]) -> Vec<Self> {
        let mut keys = Vec::new();
        let text = String::from_utf8_lossy(bytes);
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            keys.extend(match character {
                '\u{1b}' => Self::escaped(&mut rest),
                '\u{3}' => Some(Self::Interrupt),
                '\r' | '\n' => Some(Self::Enter),
                '\t' => Some(Self::Next),
                '\u{7f}' | '\u{8}' => Some(Self::Backspace),
                other => (!other.is_control()).then_some(Self::Character(other)),
            });
        }
        keys
    }

    /// What begins with an escape: `ESC [ A` and the like, or the key itself.
    fn escaped(rest: &mut std::str::Chars<'_>) -> Option<Self> {
        let behind = rest.as_str();
        if !behind.starts_with(['[', 'O']) {
            return Some(Self::Escape);
        }
        rest.next();
        // Parameters, and the letter that ends them (ECMA-48 section 5.4).
        let end = rest.find(|character| ('@'..='~').contains(character))?;
        match end {
            'A' => Some(Self::Up),
            'B' => Some(Self::Down),
            'C' => Some(Self::Next),
            'D' | 'Z' => Some(Self::Previous),
            _ => None,
        }
    }

    /// Is there an escape at the end that may be the beginning of a key?
    pub fn is_cut(bytes: &[u8]) -> bool {
        bytes.ends_with(b"\x1b") || bytes.ends_with(b"\x1b[") || bytes.ends_with(b"\x1bO")
    }
}

/// What is to be done besides showing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Stay,
    /// The end.
    Quit,
}

/// What is shown.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The page.
    pub tab: Tab,
    /// By page: which of its orders.
    pub orders: [usize; 5],
    /// Turned over.
    pub reverse: bool,
    /// Only rows with this in them.
    pub filter: String,
    /// Is the filter being typed?
    pub typing: bool,
    /// Does the picture stand still?
    pub paused: bool,
    /// The row that is chosen.
    pub chosen: usize,
    /// The drop reason whose last packets are shown.
    pub reason: Option<u32>,
}

impl View {
    /// The name of the order of the page.
    pub fn order(&self) -> &'static str {
        let orders = self.tab.orders();
        orders[self.orders[self.tab as usize] % orders.len()]
    }

    /// Does a row with this text belong to what is looked for?
    pub fn wants(&self, text: &str) -> bool {
        self.filter.is_empty() || text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// A key was pressed; `rows` are those of the page, with the reason that each stands for.
    pub fn press(&mut self, press: Press, rows: &[Option<u32>]) -> Action {
        if press == Press::Interrupt {
            return Action::Quit;
        }
        if self.typing {
            self.write(press);
            return Action::Stay;
        }
        match press {
            Press::Character('q') => return Action::Quit,
            Press::Character('p' | ' ') => self.paused = !self.paused,
            Press::Character('s') => self.orders[self.tab as usize] += 1,
            Press::Character('r') => self.reverse = !self.reverse,
            Press::Character('/') => self.typing = true,
            Press::Character(digit @ '1'..='5') => self.turn_to(Tab::ALL[digit as usize - '1' as usize]),
            Press::Next => self.turn_to(Tab::ALL[(self.tab as usize + 1) % 5]),
            Press::Previous => self.turn_to(Tab::ALL[(self.tab as usize + 4) % 5]),
            Press::Down | Press::Character('j') => self.chosen = (self.chosen + 1).min(rows.len().saturating_sub(1)),
            Press::Up | Press::Character('k') => self.chosen = self.chosen.saturating_sub(1),
            Press::Enter => {
                if let Some(Some(reason)) = rows.get(self.chosen) {
                    self.reason = Some(*reason);
                    // It found the reason; the reason's packets are other rows.
                    self.filter.clear();
                }
            }
            Press::Escape if self.reason.is_some() => self.reason = None,
            Press::Escape => self.filter.clear(),
            Press::Character(_) | Press::Backspace | Press::Interrupt => {}
        }
        Action::Stay
    }

    fn turn_to(&mut self, tab: Tab) {
        (self.tab, self.chosen, self.reason) = (tab, 0, None);
    }

    fn write(&mut self, press: Press) {
        match press {
            Press::Character(character) => self.filter.push(character),
            Press::Backspace => drop(self.filter.pop()),
            Press::Enter => self.typing = false,
            Press::Escape => {
                self.typing = false;
                self.filter.clear();
            }
            Press::Up | Press::Down | Press::Next | Press::Previous | Press::Interrupt => {}
        }
        self.chosen = 0;
    }
}

//! The date in a chat's first lines, as Python's `strftime` writes it.

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// 1 January 1970 was a Thursday.
const WEEKDAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

/// A time, in seconds since 1970 (UTC). What is not known stays as it is.
pub(super) fn format_time(seconds: u64, format: &str) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (month_name, weekday) = (MONTHS[month as usize - 1], WEEKDAYS[(days % 7) as usize]);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let mut kind = letters.next();
        // `%-d` has no leading zero.
        let width = if kind == Some('-') { 1 } else { 2 };
        if width == 1 {
            kind = letters.next();
        }
        let number = match kind {
            Some('d') => day,
            Some('m') => month,
            Some('y') => year % 100,
            Some('H') => hour,
            Some('I') => (hour + 11) % 12 + 1,
            Some('M') => minute,
            Some('S') => second % 60,
            other => {
                match other {
                    Some('Y') => out += &year.to_string(),
                    Some('B') => out += month_name,
                    Some('b') => out += &month_name[..3],
                    Some('A') => out += weekday,
                    Some('a') => out += &weekday[..3],
                    Some('p') => out += if hour < 12 { "AM" } else { "PM" },
                    Some('%') | None => out.push('%'),
                    Some(other) => out.extend(['%', other]),
                }
                continue;
            }
        };
        out += &format!("{number:0width$}");
    }
    out
}

/// Year, month and day of a day since 1970 in the Gregorian calendar, by years that begin in March (Hinnant 2013,
/// "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_strftime() {
        for (seconds, format, expected) in [
            (0, "%d %b %Y, %A %H:%M:%S", "01 Jan 1970, Thursday 00:00:00"),
            (1_709_210_096, "%Y-%m-%d %I:%M %p %a", "2024-02-29 12:34 PM Thu"),
            (951_868_799, "%-d %B %y", "29 February 00"),
            (4_107_542_399, "%d %m %Y %-I %p", "28 02 2100 11 PM"),
            (4_107_542_400, "%d %m %Y", "01 03 2100"),
            (0, "100%% %Q %", "100% %Q %"),
        ] {
            assert_eq!(format_time(seconds, format), expected, "{seconds}");
        }
    }
}

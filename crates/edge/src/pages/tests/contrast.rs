//! That the colours of the stylesheet can be told from each other: WCAG 2.2, 1.4.3 (text) and 1.4.11 (what is not text), in
//! both themes and with any brand.

use std::collections::HashMap;

const CSS: &str = include_str!("../../../assets/tunnel.css");
const TEXT: f64 = 4.5;
const SHAPE: f64 = 3.0;

/// Red, green and blue from 0 to 1, as a screen takes them.
type Rgb = [f64; 3];

/// The custom properties of a theme.
fn theme(dark: bool) -> HashMap<&'static str, &'static str> {
    let property = regex::Regex::new("--([a-z-]+): ([^;]+);").unwrap();
    let block = |start: &str| CSS.split_once(start).unwrap().1.split_once('}').unwrap().0;
    let mut found = HashMap::new();
    let starts = [":root {", "@media (prefers-color-scheme: dark) {"];
    for start in starts.into_iter().take(if dark { 2 } else { 1 }) {
        for pair in property.captures_iter(block(start)) {
            let (_, [name, value]) = pair.extract();
            found.insert(name, value);
        }
    }
    found
}

fn hex(text: &str) -> Rgb {
    let digits: Vec<u32> = text.strip_prefix('#').unwrap().chars().map(|digit| digit.to_digit(16).unwrap()).collect();
    let bytes = match *digits {
        [red, green, blue] => [red * 17, green * 17, blue * 17],
        [a, b, c, d, e, f] => [a * 16 + b, c * 16 + d, e * 16 + f],
        _ => unreachable!("{text} is no colour"),
    };
    bytes.map(|byte| f64::from(byte) / 255.0)
}

fn linear(part: f64) -> f64 {
    if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
}

fn luminance(color: Rgb) -> f64 {
    let [red, green, blue] = color.map(linear);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn contrast(one: Rgb, other: Rgb) -> f64 {
    let (one, other) = (luminance(one), luminance(other));
    (one.max(other) + 0.05) / (one.min(other) + 0.05)
}

/// To Oklab (CSS Color 4, §9.2), in which the stylesheet mixes.
fn oklab(color: Rgb) -> [f64; 3] {
    let [r, g, b] = color.map(linear);
    let [l, m, s] = [
        0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b,
        0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b,
        0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b,
    ]
    .map(f64::cbrt);
    [
        0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
        1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
        0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
    ]
}

/// And back; what no screen shows becomes the next that it does.
fn rgb([light, a, b]: [f64; 3]) -> Rgb {
    let [l, m, s] = [
        light + 0.396_337_777_4 * a + 0.215_803_757_3 * b,
        light - 0.105_561_345_8 * a - 0.063_854_172_8 * b,
        light - 0.089_484_177_5 * a - 1.291_485_548_0 * b,
    ]
    .map(|part| part.powi(3));
    [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ]
    .map(|part| part.clamp(0.0, 1.0))
    .map(|part| if part <= 0.003_130_8 { part * 12.92 } else { 1.055 * part.powf(1.0 / 2.4) - 0.055 })
}

/// `color-mix(in oklab, one share, other)`.
fn mix(one: Rgb, other: Rgb, share: f64) -> Rgb {
    let ([l, a, b], [m, c, d]) = (oklab(one), oklab(other));
    rgb([(l, m), (a, c), (b, d)].map(|(one, other)| one * share + other * (1.0 - share)))
}

/// `oklch(from brand LIGHT min(c, CHROMA) h)`.
fn accent(brand: Rgb, light: f64, chroma: f64) -> Rgb {
    let [_, a, b] = oklab(brand);
    let (c, hue) = (a.hypot(b).min(chroma), b.atan2(a));
    rgb([light, c * hue.cos(), c * hue.sin()])
}

#[test]
fn what_stands_on_what_can_be_read_in_both_themes_and_with_any_brand() {
    let known = contrast(hex("#777"), hex("#fff"));
    assert!((4.47..4.49).contains(&known), "{known} is not what others compute");
    let same = rgb(oklab(hex("#0a6674")));
    assert!(contrast(same, hex("#0a6674")) < 1.001, "{same:?}");
    for share in ["13%, var(--card)", "9%, var(--card)", "6%, var(--card)"] {
        assert!(CSS.contains(share), "the stylesheet mixes otherwise than is computed here");
    }
    let brands = [None, Some("#0a6674"), Some("#ffe600"), Some("#7c3aed"), Some("#0b1f3a"), Some("#f00"), Some("#0f0")];
    for (dark, brand) in [false, true].into_iter().flat_map(|dark| brands.map(|brand| (dark, brand))) {
        let theme = theme(dark);
        let number = |name: &str| theme[name].parse::<f64>().unwrap();
        let color = |name: &str| match brand {
            Some(brand) if name == "accent" => accent(hex(brand), number("l"), number("c")),
            _ => hex(theme[name]),
        };
        let mut pairs = Vec::new();
        for text in ["ink", "soft", "accent"] {
            pairs.extend(
                ["paper", "card", "sunk"]
                    .map(|ground| (format!("{text} on {ground}"), TEXT, color(text), color(ground))),
            );
        }
        for tone in ["accent", "ok", "warn", "bad", "soft"] {
            let (toned, card) = (color(tone), color("card"));
            let (tag, notice, open) = (mix(toned, card, 0.13), mix(toned, card, 0.09), mix(toned, card, 0.06));
            pairs.push((format!("{tone} on card"), TEXT, toned, card));
            pairs.push((format!("{tone} on its tag"), TEXT, toned, tag));
            pairs.push((format!("ink on a notice, {tone}"), TEXT, color("ink"), notice));
            pairs.push((format!("a link in a notice, {tone}"), TEXT, color("accent"), notice));
            pairs.push((format!("soft on a row, {tone}"), TEXT, color("soft"), open));
            pairs.push((format!("a button, {tone}"), TEXT, color("on-accent"), toned));
        }
        // Fields, stations, dots, and the ring of what has the focus.
        for shape in ["edge", "accent", "ok", "warn", "bad"] {
            pairs.extend(
                ["paper", "card"].map(|ground| (format!("{shape} on {ground}"), SHAPE, color(shape), color(ground))),
            );
        }
        for (name, least, one, other) in pairs {
            let found = contrast(one, other);
            assert!(found >= least, "{name}: {found:.2} and not {least} (dark: {dark}, brand: {brand:?})");
        }
    }
}

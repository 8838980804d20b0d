// HTML from data: what a template inserts is escaped, unless it was made by such a template itself.
class Markup {
  constructor(text) { this.text = text; }
  toString() { return this.text; }
}
const escapeHtml = text => String(text).replace(/[&<>"']/g, sign => `&#${sign.charCodeAt(0)};`);
const escaped = value => Array.isArray(value) ? value.map(escaped).join('') : value instanceof Markup ? value.text
  : value === null || value === undefined || value === false ? '' : escapeHtml(value);
const markup = (pieces, ...values) => new Markup(pieces.reduce((all, piece, k) => all + escaped(values[k - 1]) + piece));
const joined = (values, between) => new Markup(values.map(escaped).join(between));

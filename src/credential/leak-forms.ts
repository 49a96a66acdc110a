/** The spellings in which a secret may come back: what echoes, logs and error pages make of it. */

/** Shorter ones would be found by chance in what has nothing to do with them. */
export const guardedBytesMin = 8;

/**
 * Every spelling of the texts, none of which holds another. A text around the secret, such as a field value with a
 * scheme in front, needs none of its own: whatever it is coded to holds the coded secret.
 */
export function leakForms(texts: readonly string[]): readonly Buffer[] {
  const all = new Map<string, Buffer>();
  for (const text of texts) {
    for (const form of formsOf(text)) all.set(form.toString('latin1'), form);
  }
  const spellings = [...all.keys()];
  return spellings
    .filter((spelling) => !spellings.some((other) => other !== spelling && spelling.includes(other)))
    .flatMap((spelling) => all.get(spelling) ?? []);
}

function formsOf(text: string): readonly Buffer[] {
  const bytes = Buffer.from(text, 'utf8');
  const hex = bytes.toString('hex');
  const json = jsonForms(text);
  const texts = [
    ...json,
    ...json.flatMap((form) => [form.replaceAll('/', '\\/')]),
    ...markupForms(text),
    ...[0, 1, 2].flatMap((shift) => base64Forms(bytes, shift)),
    hex,
    hex.toUpperCase(),
    ...wholeForms(text),
    ...percentForms(text, bytes).flatMap((form) => [form, lowerHex(form)]),
  ];
  return [bytes, ...texts.map((form) => Buffer.from(form, 'utf8'))];
}

/**
 * RFC 4648 §4 and §5. `shift` is how many bytes of whatever stands before the secret share its first group. Digits that
 * also depend on its neighbours are left out, and padding with them.
 */
function base64Forms(bytes: Buffer, shift: number): readonly string[] {
  const text = Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64');
  const form = text.slice(Math.ceil((shift * 8) / 6), Math.floor(((shift + bytes.length) * 8) / 6));
  const urlForm = form.replaceAll('+', '-').replaceAll('/', '_');
  // Base64 in a JSON text or a URL.
  const inJson = [form.replaceAll('/', '\\/'), form.replaceAll('+', '\\u002B'), form.replaceAll('+', '\\u002b')];
  return [form, urlForm, ...inJson, encodeURIComponent(form), lowerHex(encodeURIComponent(form))];
}

/** RFC 3986 §2.1, as the usual functions do it: of what must be, of all but unreserved characters, of every byte. */
function percentForms(text: string, bytes: Buffer): readonly string[] {
  const component = encodeURIComponent(text);
  const strict = component.replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
  const whole = bytes.toString('hex').toUpperCase().replace(/../g, '%$&');
  // Forms have a plus for a blank, and of other signs leave fewer as they are (application/x-www-form-urlencoded).
  const form = new URLSearchParams([['', text]]).toString().slice(1);
  const withPlus = [component, strict].map((one) => one.replaceAll('%20', '+'));
  return [component, strict, whole, encodeURI(text), form, ...withPlus];
}

const lowerHex = (form: string): string => form.replace(/%[0-9A-F]{2}/g, (octet) => octet.toLowerCase());

/** RFC 8259 §7: what must be escaped, what may be, and what is escaped so that JSON can stand in a page. */
function jsonForms(text: string): readonly string[] {
  const least = JSON.stringify(text).slice(1, -1);
  const ascii = escapeUnits(least, /[^\x20-\x7e]/g);
  const forPages = escapeUnits(least, /[<>&]/g);
  const all = [least, ascii, forPages, escapeUnits(ascii, /[<>&]/g), escapeUnits(ascii, /[<>&'+]/g)];
  return [...all, ...all.map((form) => form.replace(/\\u[0-9a-f]{4}/g, (unit) => `\\u${unit.slice(2).toUpperCase()}`))];
}

/** Every character escaped, needed or not: in JSON (lower case and upper case) and in HTML. */
function wholeForms(text: string): readonly string[] {
  const json = escapeUnits(text, /./gs);
  const html = [...text].map((character) => `&#${character.codePointAt(0)};`).join('');
  return [json, json.toUpperCase().replaceAll('\\U', '\\u'), html];
}

function escapeUnits(text: string, units: RegExp): string {
  return text.replace(units, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** HTML and XML: the five characters that are escaped, in the spellings in use. */
function markupForms(text: string): readonly string[] {
  const amp = text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  return ['&quot;', '&#34;', '&#x22;'].flatMap((quote) =>
    ["'", '&#39;', '&#x27;', '&apos;'].map((apostrophe) => amp.replaceAll('"', quote).replaceAll("'", apostrophe)),
  );
}

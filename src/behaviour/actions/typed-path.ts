/** A path with the values in it taken out, by their form alone: every replica says the same, without having learned it. */

const segmentsMax = 32;
const nameCharsMax = 128;
const hexCharsMin = 8;
/** Hexadecimal of this length without a digit is no word any more. */
const hexWordCharsMin = 16;
const randomCharsMin = 16;
/** Of two characters in a row in random base64 more than half are of different kinds; in `listOAuth2Clients` a third. */
const randomSwitchesMin = 0.4;

/** `/users/4711/keys` as `/users/{id}/keys`. What comes after 32 segments is `{*}`. */
export function templateOf(path: string): string {
  let template = '';
  let from = 1;
  for (let count = 0; from <= path.length; count++) {
    if (count === segmentsMax) return `${template}/{*}`;
    const slash = path.indexOf('/', from);
    const end = slash < 0 ? path.length : slash;
    const segment = path.slice(from, end);
    template += isValue(segment) ? '/{id}' : `/${segment}`;
    from = end + 1;
  }
  return template;
}

/** What the characters of a segment are, counted in one pass. */
type Tally = {
  digits: number;
  lower: number;
  upper: number;
  hexLetters: number;
  others: number;
  at: number;
  /** Places at which lower case, upper case, digits and the rest change. */
  switches: number;
};

/** Whether a segment is a number, UUID, ULID, hexadecimal, date, e-mail address, looks random or is too long for a name. */
export function isValue(segment: string): boolean {
  if (segment === '') return false;
  if (segment.length > nameCharsMax) return true;
  const tally = tallyOf(segment);
  const { length } = segment;
  if (tally.digits === length) return true;
  if (tally.at > 0) return tally.at === 1 && isAddress(segment);
  if (tally.digits === 0) return tally.hexLetters === length && length >= hexWordCharsMin;
  if (tally.digits + tally.hexLetters === length && length >= hexCharsMin) return true;
  return isUuid(segment) || isUlid(segment) || isDate(segment) || isRandom(tally, length);
}

function tallyOf(segment: string): Tally {
  const tally: Tally = { digits: 0, lower: 0, upper: 0, hexLetters: 0, others: 0, at: 0, switches: 0 };
  let kind: ReturnType<typeof kindOf> | null = null;
  for (let index = 0; index < segment.length; index++) {
    const code = segment.charCodeAt(index);
    const next = kindOf(code);
    if (next !== kind) tally.switches++;
    kind = next;
    if (kind !== 'rest') {
      tally[kind]++;
      if (kind !== 'digits' && (code | 0x20) <= 0x66) tally.hexLetters++;
    } else if (code === 0x40 || (code === 0x25 && segment.startsWith('40', index + 1))) tally.at++;
    // The alphabets of base64 and base64url, and escapes.
    else if (code !== 0x2d && code !== 0x5f && code !== 0x3d && code !== 0x2b && code !== 0x25) tally.others++;
  }
  return tally;
}

function kindOf(code: number): 'digits' | 'lower' | 'upper' | 'rest' {
  if (code >= 0x30 && code <= 0x39) return 'digits';
  if (code >= 0x61 && code <= 0x7a) return 'lower';
  return code >= 0x41 && code <= 0x5a ? 'upper' : 'rest';
}

/** Something on either side of the @, and a dot within the domain. */
function isAddress(segment: string): boolean {
  const isEscaped = !segment.includes('@');
  const at = segment.indexOf(isEscaped ? '%40' : '@');
  const dot = segment.lastIndexOf('.');
  return at > 0 && dot > at + (isEscaped ? 3 : 1) && dot < segment.length - 1;
}

// RFC 9562 §4.
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
const isUuid = (segment: string) => segment.length === 36 && uuid.test(segment);

/** 26 characters of Crockford's base 32, of which the first holds three bits. */
const isUlid = (segment: string) => segment.length === 26 && /^[0-7][0-9a-hjkmnp-tv-z]{25}$/i.test(segment);

// RFC 3339 §5.6.
const date = /^\d{4}-\d\d-\d\d(?:[T_ ](?:[\d:.Z+-]|%3A|%2B){2,40})?$/i;
const isDate = (segment: string) => segment.length >= 10 && segment.length <= 64 && date.test(segment);

/** Both cases and digits, well mixed, in one long word: base64, or one of the ids that providers make. */
function isRandom({ lower, upper, others, switches }: Tally, length: number): boolean {
  return length >= randomCharsMin && lower > 0 && upper > 0 && others === 0 && switches >= length * randomSwitchesMin;
}

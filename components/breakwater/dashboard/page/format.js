// Text for numbers and times. Decimals arrive as exact strings and are formatted from them, not from floats.
const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const signed = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2, signDisplay: "exceptZero" });
const exact = new Intl.NumberFormat("en", { maximumFractionDigits: 8 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });

export const NONE = "–";

const known = (value) => value !== null && value !== undefined;

export const usd = (value) => (known(value) ? money.format(value) : NONE);
export const usdSigned = (value) => (known(value) ? signed.format(value) : NONE);
export const plain = (value) => (known(value) ? exact.format(value) : NONE);
export const brief = (value) => (known(value) ? short.format(value) : NONE);
export const percent = (value) => (known(value) ? `${short.format(value)} %` : NONE);
export const percentSigned = (value) => (known(value) ? `${signed.format(value)} %` : NONE);

// An arrow besides the colour: colour alone says nothing to many.
export const direction = (value) => (Number(value) > 0 ? "▲" : Number(value) < 0 ? "▼" : "■");
export const tone = (value) => (Number(value) > 0 ? "good" : Number(value) < 0 ? "bad" : "");

export const time = (text) => (text ? text.slice(11, 19) : NONE);
export const stamp = (text) => (text ? `${text.slice(0, 10)} ${text.slice(11, 19)}` : NONE);

export function duration(seconds) {
  if (!known(seconds)) return NONE;
  const whole = Math.max(0, Math.ceil(seconds));
  const minutes = Math.floor(whole / 60);
  return `${minutes}:${String(whole % 60).padStart(2, "0")}`;
}

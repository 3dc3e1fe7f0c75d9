/** As much XML as the administration's ATOM needs: elements out, first elements of a name in. */

export function escape(text: unknown): string {
  return String(text).replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign]!);
}

export function element(name: string, content: unknown): string {
  return content === undefined || content === '' ? '' : `<${name}>${escape(content)}</${name}>`;
}

/** The text of the first element of that name. */
export function textOf(xml: string, name: string): string | undefined {
  const found = new RegExp(`<(?:\\w+:)?${name}(?:\\s[^>]*)?>([^<]*)</(?:\\w+:)?${name}>`).exec(xml)?.[1];
  return found === undefined ? undefined : unescape(found);
}

/** What stands within the first element of that name. */
export function within(xml: string, name: string): string | undefined {
  return new RegExp(`<${name}(?:\\s[^>]*)?>([\\s\\S]*?)</${name}>`).exec(xml)?.[1];
}

export function unescape(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|apos);/g, (_, name: string) => ({ amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" })[name]!);
}

/** Milliseconds of an ISO 8601 duration; undefined for the one that means for ever. */
export function durationMs(text: string | undefined): number | undefined {
  const parts = /^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:([\d.]+)S)?)?$/.exec(text ?? '');
  if (!parts || Number(parts[1] ?? 0) > 100_000) return undefined;
  const [days, hours, minutes, seconds] = parts.slice(1).map((part) => Number(part ?? 0)) as [number, number, number, number];
  return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1_000;
}

export function duration(ms: number | undefined): string {
  return ms === undefined ? 'P10675199DT2H48M5.4775807S' : `PT${ms / 1_000}S`;
}

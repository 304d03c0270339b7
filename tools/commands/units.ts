/** Sizes, times and keys as people read them. JSON has them as they are. */

const SIZES = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

/** `96.0 MiB`; a dash for what is no number. */
export function showBytes(value: unknown): string {
  if (typeof value !== 'number') return '-';
  let [left, unit] = [value, 0];
  while (left >= 1024 && unit < SIZES.length - 1) [left, unit] = [left / 1024, unit + 1];
  return `${unit === 0 ? Math.round(left) : left.toFixed(1)} ${SIZES[unit]}`;
}

/** `3d 4h`, `5m 12s`: the two largest units. */
export function showDuration(valueMs: unknown): string {
  if (typeof valueMs !== 'number') return '-';
  const seconds = Math.floor(valueMs / 1_000);
  const [days, hours, minutes] = [
    Math.floor(seconds / 86_400),
    Math.floor(seconds / 3_600) % 24,
    Math.floor(seconds / 60) % 60,
  ];
  if (days > 0) return `${days}d ${hours}h`;
  if (hours > 0) return `${hours}h ${minutes}m`;
  return minutes > 0 ? `${minutes}m ${seconds % 60}s` : `${seconds}s`;
}

/** `2026-11-27 16:05:09`, in UTC. */
export function showTime(atMs: unknown): string {
  return typeof atMs === 'number' ? new Date(atMs).toISOString().slice(0, 19).replace('T', ' ') : '-';
}

export function showRate(value: unknown): string {
  return typeof value === 'number' ? String(Math.round(value)) : '-';
}

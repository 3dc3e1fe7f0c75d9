/**
 * Where a subscription begins when it is created. Files hold what was published before it; a broker's queue holds what came
 * since, so with a broker the subscribers are started before the catalogue publishes for the first time (`startOrder`).
 */
export const begin: 'beginning' | 'now' = /^(sqlite:|$)/.test(process.env['WAYBILL_TRANSPORT'] ?? '') ? 'beginning' : 'now';

"""What Redis or Valkey runs for us: one atomic script per decision, on the server's clock.

A cell is one string, "debt at born given": `debt` is the seconds after `at` until its bucket is full again, `at` and
`born` are moments in microseconds, `given` is the seconds' worth that were given back so far. An absolute moment with
fractions would lose single tokens of large limits to rounding; a debt of seconds does not. What is absent, of another
type or no cell of ours is a full bucket, and is written over. Keys vanish when their buckets are full.

`ARGV[1]` is the time in microseconds; "" = the server's own. Only tests tell one.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

_COMMON = """
local function now_of(told)
  if told ~= '' then return tonumber(told) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
local function text_of(key)
  local text = redis.pcall('GET', key)
  if type(text) == 'string' then return text end
  return ''
end
local function sane(number)
  return number and number > -1e16 and number < 1e16
end
local function elapsed(now, at)
  return math.max(0, now - at) / 1000000
end
local function keep(key, text, seconds)
  redis.call('SET', key, text, 'PX', string.format('%.0f', math.ceil(seconds * 1000) + 10000))
end
"""

_CELLS = """
local function read(key, now)
  local debt, at, born, given = string.match(text_of(key), '^(%S+) (%S+) (%S+) (%S+)$')
  debt, at, born, given = tonumber(debt), tonumber(at), tonumber(born), tonumber(given)
  if sane(debt) and sane(at) and sane(born) and sane(given) then
    return {debt = math.max(0, debt - elapsed(now, at)), born = born, given = given, set_back = now < at}
  end
  return {debt = 0, born = now, given = 0, new = true}
end
local function write(key, now, cell)
  keep(key, string.format('%.17g %.0f %.0f %.17g', cell.debt, now, cell.born, cell.given), cell.debt)
end
"""

_ASK = """
local now, burst, slack = now_of(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local cells, fits = {}, true
for i, key in ipairs(KEYS) do
  local cell, cost = read(key, now), tonumber(ARGV[i + 3])
  if cost > 0 and cell.debt + cost - burst > slack then fits = false end
  cell.cost = cost
  cells[i] = cell
end
local said = {fits and '1' or '0', string.format('%.0f', now)}
for i, key in ipairs(KEYS) do
  local cell = cells[i]
  local takes = fits and cell.cost > 0
  if takes then cell.debt = cell.debt + cell.cost end
  -- Where the clock was set back, time goes on from here, and not once it has caught up.
  if takes or cell.set_back then write(key, now, cell) end
  said[i + 2] = string.format('%.17g %.0f %.17g', cell.debt, cell.born, cell.given)
end
return table.concat(said, ' ')
"""

_CORRECT = """
local now, most = now_of(ARGV[1]), tonumber(ARGV[2])
for i, key in ipairs(KEYS) do
  local first = i * 5 - 2
  local over, debt, at = tonumber(ARGV[first]), tonumber(ARGV[first + 1]), tonumber(ARGV[first + 2])
  local born, given = tonumber(ARGV[first + 3]), tonumber(ARGV[first + 4])
  local cell = read(key, now)
  if over > 0 then
    cell.debt = math.max(cell.debt, math.min(cell.debt + over, most))
    write(key, now, cell)
  elseif not cell.new and cell.born == born and now >= at then
    -- At no call since was the debt below this: without that call it would not have overflowed.
    local sure = debt - elapsed(now, at) - (cell.given - given)
    local back = math.min(-over, sure, cell.debt)
    if back > 0 then
      cell.debt = cell.debt - back
      cell.given = cell.given + back
      write(key, now, cell)
    end
  end
end
return '1'
"""

# A place's buckets are one string: "at blocked;kind level capacity per_second;kind ...;".
_PACE = """
local now, doing, kept, most_blocked = now_of(ARGV[1]), ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local margin, nothing, first = tonumber(ARGV[5]), tonumber(ARGV[6]), 7
local text, cells = text_of(KEYS[1]), {}
local at, blocked = string.match(text, '^(%S+) ([^ ;]+);')
at, blocked = tonumber(at), tonumber(blocked)
if sane(at) and sane(blocked) then
  local passed = elapsed(now, at)
  -- Where the clock was set back, what was left of a block is left of it still.
  blocked = blocked - math.max(0, at - now)
  for kind, level, capacity, rate in string.gmatch(text, '([%a_]+) (%S+) (%S+) ([^ ;]+);') do
    level, capacity, rate = tonumber(level), tonumber(capacity), tonumber(rate)
    if sane(level) and sane(capacity) and sane(rate) and capacity > 0 and rate > 0 then
      cells[kind] = {level = math.min(capacity, level + passed * rate), capacity = capacity, rate = rate}
    end
  end
else
  blocked = now
end
local wait, found = math.max(0, (blocked - now) / 1000000), {}
if doing == 'block' then
  blocked = math.max(blocked, now + math.min(tonumber(ARGV[first]), most_blocked) * 1000000)
else
  for i = first, #ARGV, 4 do
    local kind, amount, capacity, rate = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
    local cell = cells[kind]
    if capacity > 0 then
      if not cell then
        cell = {level = capacity}
        cells[kind] = cell
      end
      cell.capacity, cell.rate, cell.level = capacity, rate, math.min(capacity, cell.level)
    end
    if cell then
      found[#found + 1] = {cell = cell, amount = amount}
      local missing = math.min(amount, cell.capacity) - cell.level
      if missing > nothing then wait = math.max(wait, missing / cell.rate + margin) end
    end
  end
end
for _, each in ipairs(found) do
  local cell = each.cell
  if doing == 'take' and wait == 0 then
    cell.level = cell.level - each.amount
  elseif doing == 'correct' then
    local least = math.min(cell.level, -cell.capacity)
    cell.level = math.min(cell.capacity, math.max(least, cell.level - each.amount))
  elseif doing == 'learn' then
    cell.level = math.min(cell.level, math.max(0, each.amount))
  end
end
local parts, seconds, some = {}, math.max(kept, (blocked - now) / 1000000), blocked > now
for kind, cell in pairs(cells) do
  some = true
  seconds = math.max(seconds, (cell.capacity - cell.level) / cell.rate)
  parts[#parts + 1] = string.format('%s %.17g %.17g %.17g;', kind, cell.level, cell.capacity, cell.rate)
end
if some then
  keep(KEYS[1], string.format('%.0f %.0f;', now, blocked) .. table.concat(parts), seconds)
end
return string.format('%.17g', wait)
"""

_BEAT = """
local now, alive = now_of(ARGV[1]), tonumber(ARGV[3])
local said = redis.pcall('ZADD', KEYS[1], now, ARGV[2])
if type(said) == 'table' then
  redis.call('DEL', KEYS[1])
  redis.call('ZADD', KEYS[1], now, ARGV[2])
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - alive * 1000000))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', alive * 1000))
return redis.call('ZCARD', KEYS[1])
"""


class Script(NamedTuple):
    """One of ours: its text, and the digest that the server knows it by once it has been loaded."""

    text: str
    sha: str


def _script(*parts: str) -> Script:
    text = "".join(parts)
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ASK = _script(_COMMON, _CELLS, _ASK)
"""KEYS: cells. ARGV: time, burst in seconds, slack in seconds, what the call takes of each cell in seconds' worth.

Returns "1" or "0" (let in or not), the time, then debt, born and given of each cell, after it was let in, or as they
are. All cells let it in, or nothing is taken.
"""

CORRECT = _script(_COMMON, _CELLS, _CORRECT)
"""KEYS: cells. ARGV: time, the most debt in seconds; for each cell how much more was used in seconds' worth (negative:
less), and the cell's debt, time, born and given right after the call was let in. See `policy.gcra.Limits.correct`."""

PACE = _script(_COMMON, _PACE)
"""KEYS: a place. ARGV: time; "take", "correct", "learn" or "block"; seconds for which limits are remembered; the
longest block; margin; what may be missing; for "block" the seconds, else kind, amount, capacity and rate of each.

Returns the seconds to wait as text; for "take", "0" = taken. See `policy.pace_cells.PaceCells`.
"""

BEAT = _script(_COMMON, _BEAT)
"""KEYS: the replicas. ARGV: time, this one's id, seconds for which it is believed alive. Returns how many are alive."""

ALL = (ASK, CORRECT, PACE, BEAT)

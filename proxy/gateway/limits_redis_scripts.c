/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/limits_redis_scripts.h"

const struct span limits_script_clock = {
    .ptr = "local clock = redis.call('TIME') local now = clock[1] * 1000000 + clock[2]\n",
    .len = sizeof("local clock = redis.call('TIME') local now = clock[1] * 1000000 + clock[2]\n") - 1};

/*
 * Another server's clock (after a failover) may be behind what stands in a key: time then stands still for that key,
 * or, when it is more than a minute, what had elapsed is forgotten.
 */
static const char rate_text[] = "local function rate_read(v)\n"
                                "  local made, at, backlog, back = string.match(v or '', '^(%d+) (%d+) (%d+) (%d+)$')\n"
                                "  if not made then return now, now, 0, 0 end\n"
                                "  return tonumber(made), tonumber(at), tonumber(backlog), tonumber(back)\n"
                                "end\n"
                                "local function rate_drain(at, backlog)\n"
                                "  if at > now + 60000000 then return now, backlog end\n"
                                "  if at >= now then return at, backlog end\n"
                                "  return now, math.max(0, backlog - (now - at) * 1024)\n"
                                "end\n"
                                "local function rate_text(made, at, backlog, back)\n"
                                "  return string.format('%.0f %.0f %.0f %.0f', made, at, backlog, back)\n"
                                "end\n"
                                "local function rate_life(at, backlog)\n"
                                "  return math.max(0, math.ceil((at - now) / 1000 + backlog / 1024000)) + 1000\n"
                                "end\n";

/* A month is told by its first and last microsecond, and is at most one away from now. */
static const char calendar_text[] =
    "local function window(kind, c)\n"
    "  if kind ~= 4 then return math.floor(now / c), c end\n"
    "  local number, first, last = string.match(c, '^(%d+) (%d+) (%d+)$')\n"
    "  number = tonumber(number)\n"
    "  if now < tonumber(first) then number = number - 1 end\n"
    "  if now >= tonumber(last) then number = number + 1 end\n"
    "  return number, 2678400000000\n"
    "end\n"
    "local function calendar_read(v)\n"
    "  local number, count = string.match(v or '', '^(%d+) (%d+)$')\n"
    "  return tonumber(number or -1), tonumber(count or 0)\n"
    "end\n"
    "local function calendar_text(number, count)\n"
    "  return string.format('%.0f %.0f', number, math.max(0, math.min(count, 17592186044415)))\n"
    "end\n";

/* The counts of windows number - 12 .. number; without a number, those that stand there. */
static const char rolling_text[] = "local function rolling_read(v, number)\n"
                                   "  local counts, first, i = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, nil, 0\n"
                                   "  for word in string.gmatch(v or '', '%d+') do\n"
                                   "    if not first then\n"
                                   "      first = tonumber(word)\n"
                                   "      number = number or first\n"
                                   "      if first > number and first <= number + 13 then number = first end\n"
                                   "    else\n"
                                   "      i = i + 1\n"
                                   "      local at = i + first - number\n"
                                   "      if at >= 1 and at <= 13 then counts[at] = tonumber(word) end\n"
                                   "    end\n"
                                   "  end\n"
                                   "  return counts, number\n"
                                   "end\n"
                                   "local function rolling_add(counts, number, at, units)\n"
                                   "  local i = at - number + 13\n"
                                   "  if i >= 1 and i <= 13 then\n"
                                   "    counts[i] = math.max(0, math.min(counts[i] + units, 17592186044415))\n"
                                   "  end\n"
                                   "end\n"
                                   "local function rolling_text(counts, number)\n"
                                   "  local words = {string.format('%.0f', number)}\n"
                                   "  for i = 1, 13 do words[i + 1] = string.format('%.0f', counts[i]) end\n"
                                   "  return table.concat(words, ' ')\n"
                                   "end\n";

/*
 * All is looked at before anything is written. The record goes first then: when it is there, this has been settled
 * before, or a server without memory refuses all of it.
 */
static const char reserve_text[] =
    "local record, id, life = KEYS[1], ARGV[1], ARGV[2]\n"
    "local out, marks, new, lives, granted = {1, now}, {}, {}, {}, true\n"
    "for i = 1, #KEYS - 1 do\n"
    "  local key, kind = KEYS[i + 1], tonumber(ARGV[4 * i - 1])\n"
    "  local a, b, c = tonumber(ARGV[4 * i]), tonumber(ARGV[4 * i + 1]), ARGV[4 * i + 2]\n"
    "  local shadow, fits, mark = kind >= 8, false, ''\n"
    "  kind = kind % 8\n"
    "  if kind == 3 then\n"
    "    local count = redis.call('ZCOUNT', key, '(' .. string.format('%.0f', now), '+inf')\n"
    "    out[#out + 1] = count\n"
    "    fits = count + a <= b\n"
    "    if fits then new[key], lives[key] = a, tonumber(c) end\n"
    "  else\n"
    "    local v = new[key] or redis.call('GET', key)\n"
    "    if kind == 0 then\n"
    "      local made, at, backlog, back = rate_read(v)\n"
    "      at, backlog = rate_drain(at, backlog)\n"
    "      out[#out + 1] = backlog\n"
    "      fits = a == 0 or (a > 0 and backlog + a <= b)\n"
    "      if fits then\n"
    "        mark = rate_text(made, at, backlog + a, back)\n"
    "        new[key], lives[key] = mark, rate_life(at, backlog + a)\n"
    "      end\n"
    "    elseif kind == 2 then\n"
    "      c = tonumber(c)\n"
    "      local counts, number = rolling_read(v, math.floor(now / c))\n"
    "      local sum = 0\n"
    "      for k = 1, 13 do\n"
    "        sum = sum + counts[k]\n"
    "        out[#out + 1] = counts[k]\n"
    "      end\n"
    "      fits = sum + a <= b\n"
    "      if fits then\n"
    "        rolling_add(counts, number, number, a)\n"
    "        new[key], lives[key] = rolling_text(counts, number), math.ceil(c / 1000 * 14)\n"
    "        mark = string.format('%.0f', number)\n"
    "      end\n"
    "    else\n"
    "      local number, period = window(kind, c)\n"
    "      local stood, count = calendar_read(v)\n"
    "      if stood == number + 1 then number = stood end\n"
    "      if stood ~= number then count = 0 end\n"
    "      out[#out + 1] = count\n"
    "      fits = count + a <= b\n"
    "      if fits then\n"
    "        new[key], lives[key] = calendar_text(number, count + a), math.ceil(period / 1000) + 1000\n"
    "        mark = string.format('%.0f', number)\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "  if not fits then mark = 'n' end\n"
    "  if not fits and not shadow then granted = false end\n"
    "  marks[i] = mark\n"
    "end\n"
    "if not granted then\n"
    "  out[1] = 0\n"
    "  return out\n"
    "end\n"
    "if not redis.call('SET', record, table.concat(marks, ';'), 'PX', life, 'NX') then return {2, now} end\n"
    "for key, value in pairs(new) do\n"
    "  if type(value) == 'string' then\n"
    "    redis.call('SET', key, value, 'PX', lives[key])\n"
    "  else\n"
    "    redis.call('ZADD', key, now + lives[key], id)\n"
    "    for k = 2, value do redis.call('ZADD', key, now + lives[key], id .. ':' .. k) end\n"
    "    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)\n"
    "    redis.call('PEXPIRE', key, math.ceil(lives[key] / 1000) + 1000)\n"
    "  end\n"
    "end\n"
    "return out\n";

/* Few settlements need the time: `look` tells it. The record goes first: from there on a server short of memory lets
 * the rest through. */
static const char settle_text[] =
    "local record, id = KEYS[1], ARGV[1]\n"
    "local marks = redis.call('GET', record)\n"
    "if marks == '-' then return 0 end\n"
    "if not marks then\n"
    "  redis.call('SET', record, '-', 'PX', ARGV[2])\n"
    "  return 0\n"
    "end\n"
    "redis.call('DEL', record)\n"
    "local i = 0\n"
    "for mark in string.gmatch(marks .. ';', '([^;]*);') do\n"
    "  i = i + 1\n"
    "  local key, kind, a = KEYS[i + 1], ARGV[2 * i + 1], tonumber(ARGV[2 * i + 2])\n"
    "  if not key then break end\n"
    "  if mark == 'n' then\n"
    "  elseif kind == '3' then\n"
    "    redis.call('ZREM', key, id)\n"
    "    for k = 2, a do redis.call('ZREM', key, id .. ':' .. k) end\n"
    "  elseif a ~= 0 then\n"
    "    local v = redis.call('GET', key)\n"
    "    if kind == '0' then\n"
    "      if a > 0 then now = look() end\n"
    "      local made, at, backlog, back = rate_read(v)\n"
    "      if a > 0 then\n"
    "        at, backlog = rate_drain(at, backlog)\n"
    "        backlog = backlog + a\n"
    "        redis.call('SET', key, rate_text(made, at, backlog, back), 'PX', rate_life(at, backlog))\n"
    "      elseif v then\n"
    "        local was_made, was_at, was_backlog, was_back = rate_read(mark)\n"
    "        if was_made == made then\n"
    "          local undrained = (was_at - at) * 1024 + was_backlog - (back - was_back) % 9007199254740992\n"
    "          local ticks = math.max(0, math.min(-a, undrained, backlog))\n"
    "          back = (back + ticks) % 9007199254740992\n"
    "          redis.call('SET', key, rate_text(made, at, backlog - ticks, back), 'KEEPTTL')\n"
    "        end\n"
    "      end\n"
    "    elseif v and kind == '2' then\n"
    "      local counts, number = rolling_read(v)\n"
    "      rolling_add(counts, number, tonumber(mark), a)\n"
    "      redis.call('SET', key, rolling_text(counts, number), 'KEEPTTL')\n"
    "    elseif v then\n"
    "      local number, count = calendar_read(v)\n"
    "      if number == tonumber(mark) then\n"
    "        redis.call('SET', key, calendar_text(number, count + a), 'KEEPTTL')\n"
    "      end\n"
    "    end\n"
    "  end\n"
    "end\n"
    "return 1\n";

/* What belongs to a window that has passed meanwhile matters to nobody. */
static const char charge_text[] =
    "local record, key, life, kind = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])\n"
    "local a, c, of = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])\n"
    "if redis.call('EXISTS', record) == 1 then return 0 end\n"
    "redis.call('SET', record, '-', 'PX', life)\n"
    "local v = redis.call('GET', key)\n"
    "if kind == 0 then\n"
    "  local made, at, backlog, back = rate_read(v)\n"
    "  at, backlog = rate_drain(at, backlog)\n"
    "  backlog = backlog + math.max(0, a)\n"
    "  redis.call('SET', key, rate_text(made, at, backlog, back), 'PX', rate_life(at, backlog))\n"
    "elseif kind == 2 then\n"
    "  c = tonumber(c)\n"
    "  local counts, number = rolling_read(v, math.floor(now / c))\n"
    "  rolling_add(counts, number, math.min(of, number), a)\n"
    "  redis.call('SET', key, rolling_text(counts, number), 'PX', math.ceil(c / 1000 * 14))\n"
    "else\n"
    "  local number, period = window(kind, c)\n"
    "  local stood, count = calendar_read(v)\n"
    "  if stood ~= number then count = 0 end\n"
    "  if of == number then\n"
    "    redis.call('SET', key, calendar_text(number, count + a), 'PX', math.ceil(period / 1000) + 1000)\n"
    "  end\n"
    "end\n"
    "return 1\n";

static const char renew_text[] =
    "local record, id, life = KEYS[1], ARGV[1], tonumber(ARGV[2])\n"
    "local marks = redis.call('GET', record)\n"
    "if not marks or marks == '-' then return 0 end\n"
    "redis.call('PEXPIRE', record, life)\n"
    "local lease = tonumber(ARGV[3])\n"
    "for i = 2, #KEYS do\n"
    "  redis.call('ZADD', KEYS[i], now + lease, id)\n"
    "  for k = 2, tonumber(ARGV[i + 2]) do redis.call('ZADD', KEYS[i], now + lease, id .. ':' .. k) end\n"
    "  redis.call('PEXPIRE', KEYS[i], math.ceil(lease / 1000) + 1000)\n"
    "end\n"
    "return 1\n";

static const char beat_text[] = "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)\n"
                                "redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])\n"
                                "redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] / 1000))\n"
                                "return redis.call('ZCARD', KEYS[1])\n";

static const struct {
    bool kinds; /* it needs to know what stands in the keys of limits */
    const char *text;
    bool looks; /* at the clock by itself */
} bodies[LIMITS_SCRIPTS] = {
    [LIMITS_SCRIPT_RESERVE] = {.kinds = true, .text = reserve_text},
    [LIMITS_SCRIPT_SETTLE] = {.kinds = true, .text = settle_text, .looks = true},
    [LIMITS_SCRIPT_CHARGE] = {.kinds = true, .text = charge_text},
    [LIMITS_SCRIPT_RENEW] = {.text = renew_text},
    [LIMITS_SCRIPT_BEAT] = {.text = beat_text},
};

void limits_scripts_init(struct limits_scripts *scripts, struct span clock)
{
    for (unsigned i = 0; i < LIMITS_SCRIPTS; i++) {
        struct buffer *text = &scripts->text[i];
        *text = (struct buffer){0};
        if (bodies[i].looks)
            buffer_append(text, SPAN("local now\nlocal function look()\n"));
        buffer_append(text, clock);
        if (bodies[i].looks)
            buffer_append(text, SPAN("return now\nend\n"));
        if (bodies[i].kinds) {
            buffer_append(text, span_str(rate_text));
            buffer_append(text, span_str(calendar_text));
            buffer_append(text, span_str(rolling_text));
        }
        buffer_append(text, span_str(bodies[i].text));
        redis_script_init(&scripts->script[i], buffer_span(text));
    }
}

void limits_scripts_finish(struct limits_scripts *scripts)
{
    for (unsigned i = 0; i < LIMITS_SCRIPTS; i++)
        buffer_finish(&scripts->text[i]);
}

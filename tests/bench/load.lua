-- Sends the requests of a file in a loop and replaces {#} in each with the next number.
local requests = {}
local sent, taken = 0, 0

local function split(text)
  local parts, start = {}, 1
  while true do
    local first, last = text:find("{#}", start, true)
    parts[#parts + 1] = text:sub(start, first and first - 1)
    if not first then return parts end
    start = last + 1
  end
end

function init(arguments)
  taken = tonumber(arguments[2])
  for line in io.lines(arguments[1]) do
    local method, path, tag, body = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
    local headers = {["Content-Type"] = "application/json"}
    if tag ~= "" then headers["If-None-Match"] = tag end
    requests[#requests + 1] = {method, split(path), headers, body ~= "" and split(body) or nil}
  end
end

function request()
  local number = tostring(taken + sent)
  local current = requests[sent % #requests + 1]
  sent = sent + 1
  return wrk.format(current[1], table.concat(current[2], number), current[3], current[4] and table.concat(current[4], number))
end

function done(summary, latency)
  local errors = summary.errors
  io.stderr:write(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %.6f, "p99": %.6f, "failed": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e6, latency:percentile(99) / 1e6,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end

-- SPDX-License-Identifier: Apache-2.0
-- wrk knows one address; here its threads get those of IPOS_BENCH_ADDRESSES in turn.
local addresses, threads = {}, 0

function setup(thread)
   if threads == 0 then
      for host, port in (os.getenv("IPOS_BENCH_ADDRESSES") or ""):gmatch("([^,:]+):?(%d*)") do
         addresses[#addresses + 1] = wrk.lookup(host, port ~= "" and port or "80")[1]
      end
   end
   if #addresses > 0 then
      thread.addr = addresses[threads % #addresses + 1]
   end
   threads = threads + 1
end

-- wrk's own report is for people; this adds one line of JSON as the last.
function done(summary, latency, requests)
   local e = summary.errors
   io.write(string.format('{"requests": %d, "bytes": %d, "microseconds": %d, "errors": %d}\n',
      summary.requests, summary.bytes, summary.duration,
      e.connect + e.read + e.write + e.status + e.timeout))
end

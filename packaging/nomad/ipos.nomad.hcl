# SPDX-License-Identifier: Apache-2.0
# The agent on every client whose metadata has ipos = "server", by the docker driver. Clients need
# plugin "docker" { config { allow_privileged = true, volumes { enabled = true } } }, and each has
# its own /etc/ipos/ipos.toml and the farm's /etc/ipos/farm.key before. Nomad must be of June 2025 or
# newer, because older docker drivers refuse cgroupns; clients with on_stop = "leave" need
# max_kill_timeout = "40s", because Nomad waits 30 seconds at most otherwise.
variable "image" {
  type    = string
  default = "registry.example.org/ipos:0.1.0"
}

job "ipos-agent" {
  type     = "system"
  priority = 90

  constraint {
    attribute = "${meta.ipos}"
    value     = "server"
  }

  # One server after the other. They serve meanwhile, also the one whose agent restarts.
  update {
    max_parallel = 1
  }

  group "agent" {
    network {
      mode = "host"
    }

    # The server serves while its agent is started anew, for as long as it takes.
    restart {
      attempts = 10
      interval = "10m"
      delay    = "2s"
      mode     = "delay"
    }

    task "agent" {
      driver       = "docker"
      kill_signal  = "SIGTERM"
      kill_timeout = "40s" # as long as on_stop = "leave" may take

      config {
        image        = var.image
        network_mode = "host"
        pid_mode     = "host" # it names the processes that listen
        cgroupns     = "host" # and sees sockets of all cgroups
        privileged   = true   # /proc/sys/net is read-only otherwise
        volumes = [
          "/etc/ipos:/etc/ipos:ro",
          "/run/ipos:/run/ipos",
          "/var/lib/ipos:/var/lib/ipos",
          "/sys/fs/bpf:/sys/fs/bpf",
        ]
      }

      resources {
        cpu    = 100
        memory = 512
      }
    }
  }
}

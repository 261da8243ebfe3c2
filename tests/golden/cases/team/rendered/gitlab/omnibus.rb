# GitLab's configuration, evaluated on every start before /etc/gitlab/gitlab.rb. Every value is written by a serializer,
# never pasted; secrets are read from files. Key names are those of GitLab 19.2 and later.

external_url 'https://gitlab.forge.example.com'
gitlab_rails['time_zone'] = 'Europe/Madrid'

# TLS ends at the ingress. The headers that follow from https above are set by GitLab itself.
letsencrypt['enable'] = false
gitlab_rails['nginx']['listen_port'] = 80
gitlab_rails['nginx']['listen_https'] = false
# Only the ingress is in this network beside GitLab: whatever else could reach it could claim any client address.
gitlab_rails['nginx']['real_ip_trusted_addresses'] = ['172.30.250.0/28']
gitlab_rails['nginx']['real_ip_header'] = 'X-Forwarded-For'
gitlab_rails['nginx']['real_ip_recursive'] = 'on'
gitlab_rails['trusted_proxies'] = ['172.30.250.0/28']
# The port of clone addresses; sshd itself listens on 22.
gitlab_rails['gitlab_shell_ssh_port'] = 22222
# Readiness, liveness and metrics answer to the container itself. Prometheus asks the ports below instead, so nothing on
# the ingress has to be let in here, and nothing has to be blocked there.
gitlab_rails['monitoring_whitelist'] = ['127.0.0.0/8', '::1/128']

# Read once, when the database is made.
gitlab_rails['initial_root_password'] = File.read('/run/secrets/GITLAB_ROOT_PASSWORD').gsub("\n", '')

# Sizes of the tier.
puma['worker_processes'] = 4
puma['min_threads'] = 4
puma['max_threads'] = 4
puma['per_worker_max_memory_mb'] = 1500
sidekiq['concurrency'] = 20
postgresql['shared_buffers'] = '1GB'
gitlab_kas['enable'] = false
gitaly['configuration'] = {
  prometheus_listen_addr: '0.0.0.0:9236',
  concurrency: [
    { rpc: '/gitaly.SmartHTTPService/PostUploadPackWithSidechannel', max_per_repo: 20 },
    { rpc: '/gitaly.SmartHTTPService/PostReceivePack', max_per_repo: 20 },
    { rpc: '/gitaly.SSHService/SSHUploadPackWithSidechannel', max_per_repo: 20 },
    { rpc: '/gitaly.SSHService/SSHReceivePack', max_per_repo: 20 },
  ],
}

# The platform has its own Prometheus, on an internal network; the bundled one and its companions stay off.
prometheus['enable'] = false
alertmanager['enable'] = false
node_exporter['enable'] = false
prometheus_monitoring['enable'] = true
gitlab_workhorse['prometheus_listen_addr'] = '0.0.0.0:9229'
sidekiq['metrics_enabled'] = true
sidekiq['listen_address'] = '0.0.0.0'
sidekiq['listen_port'] = 8082
puma['exporter_enabled'] = true
puma['exporter_address'] = '0.0.0.0'
puma['exporter_port'] = 8083
gitlab_exporter['enable'] = true
gitlab_exporter['listen_address'] = '0.0.0.0'
gitlab_exporter['listen_port'] = '9168'
redis_exporter['enable'] = true
redis_exporter['listen_address'] = '0.0.0.0:9121'
postgres_exporter['enable'] = true
postgres_exporter['listen_address'] = '0.0.0.0:9187'
gitlab_rails['prometheus_address'] = 'prometheus:9090'

# Container registry.
registry['enable'] = true
gitlab_rails['registry_enabled'] = true
gitlab_rails['gitlab_default_projects_features_container_registry'] = true
registry_external_url 'https://registry.forge.example.com'
registry['nginx']['listen_port'] = 5050
registry['nginx']['listen_https'] = false
registry['nginx']['real_ip_trusted_addresses'] = ['172.30.250.0/28']
registry['nginx']['real_ip_header'] = 'X-Forwarded-For'
registry['nginx']['real_ip_recursive'] = 'on'
registry['debug_addr'] = '0.0.0.0:5001'
registry['debug'] = { 'prometheus' => { 'enabled' => true, 'path' => '/metrics' } }
# Tags and manifests are in a database of their own, which a backup leaves out without these.
gitlab_rails['backup_role'] = true
gitlab_rails['backup_registry_password'] = File.read('/run/secrets/GITLAB_REGISTRY_BACKUP_PASSWORD').gsub("\n", '')
gitlab_rails['restore_registry_password'] = File.read('/run/secrets/GITLAB_REGISTRY_RESTORE_PASSWORD').gsub("\n", '')

# Pages: one name for all sites, because the certificate covers one level of names.
gitlab_pages['enable'] = true
pages_external_url 'https://pages.forge.example.com'
gitlab_pages['namespace_in_path'] = true
gitlab_pages['access_control'] = true
gitlab_pages['nginx']['listen_port'] = 8090
gitlab_pages['nginx']['listen_https'] = false
gitlab_pages['nginx']['real_ip_trusted_addresses'] = ['172.30.250.0/28']
gitlab_pages['nginx']['real_ip_header'] = 'X-Forwarded-For'
gitlab_pages['nginx']['real_ip_recursive'] = 'on'
# Its default is 8090 too, which is nginx's here.
gitlab_pages['listen_proxy'] = 'localhost:8091'
gitlab_pages['internal_gitlab_server'] = 'http://localhost:80'

# E-mail.
gitlab_rails['gitlab_email_enabled'] = false

# Backups. /etc/gitlab is not in them, nor is it meant to lie beside them: it holds the keys of what they contain.
gitlab_rails['manage_backup_path'] = true
gitlab_rails['backup_path'] = '/var/opt/gitlab/backups'
gitlab_rails['backup_archive_permissions'] = 0o600
gitlab_rails['backup_keep_time'] = 1209600

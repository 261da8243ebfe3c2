"""The application settings of GitLab CE: what its page documents without a paid tier, their types and defaults."""

from __future__ import annotations

from tests.fakes.gitlab.parameters import Parameters

_BOOLEANS = """
admin_mode notify_on_unknown_sign_in email_restrictions_enabled akismet_enabled allow_account_deletion
allow_local_requests_from_hooks_and_services allow_local_requests_from_system_hooks
allow_local_requests_from_web_hooks_and_services allow_project_creation_for_guest_and_below
allow_runner_registration_token asset_proxy_enabled authorized_keys_enabled auto_devops_enabled bulk_import_enabled
can_create_group container_expiration_policies_enable_historic_entries container_registry_expiration_policies_caching
updating_name_disabled_for_users deactivate_dormant_users diagramsnet_enabled disable_admin_oauth_scopes
disable_feed_token dns_rebinding_protection_enabled domain_denylist_enabled eks_integration_enabled
email_author_in_body enforce_terms external_authorization_service_enabled gitlab_dedicated_instance
gitlab_environment_toolkit_instance grafana_enabled gravatar_enabled hashed_storage_enabled
help_page_hide_commercial_content hide_third_party_offers housekeeping_bitmaps_enabled housekeeping_enabled
html_emails_enabled invisible_captcha_enabled jira_connect_public_key_storage_enabled keep_latest_artifact
mailgun_events_enabled mirror_available package_registry_allow_anyone_to_pull_option pages_domain_verification_enabled
password_authentication_enabled_for_git password_authentication_enabled_for_web performance_bar_enabled gitpod_enabled
kroki_enabled plantuml_enabled project_export_enabled prometheus_metrics_enabled protected_ci_variables
recaptcha_enabled login_recaptcha_protection_enabled receptive_cluster_agents_enabled remember_me_enabled
repository_checks_enabled require_admin_approval_after_user_signup require_personal_access_token_expiry
require_two_factor_authentication session_expire_from_init service_access_tokens_expiration_enforced
shared_runners_enabled signup_enabled silent_admin_exports_enabled silent_mode_enabled slack_app_enabled
snowplow_enabled sourcegraph_enabled sourcegraph_public_only spam_check_endpoint_enabled suggest_pipeline_enabled
enable_artifact_external_redirect_warning_page throttle_authenticated_api_enabled
throttle_authenticated_packages_api_enabled throttle_authenticated_web_enabled throttle_unauthenticated_enabled
throttle_unauthenticated_api_enabled throttle_unauthenticated_packages_api_enabled throttle_unauthenticated_web_enabled
time_tracking_limit_to_hours unique_ips_limit_enabled update_runner_versions_enabled usage_ping_enabled
include_optional_metrics_in_service_ping user_deactivation_emails_enabled user_default_external
user_defaults_to_private_profile user_oauth_applications user_show_add_ssh_key_message version_check_enabled
nuget_skip_metadata_url_validation require_admin_two_factor_authentication delete_inactive_projects signin_enabled
"""
_INTEGERS = """
autocomplete_users autocomplete_users_unauthenticated bulk_import_max_download_file_size ci_max_total_yaml_size_bytes
ci_max_includes concurrent_github_import_jobs_limit concurrent_bitbucket_import_jobs_limit
concurrent_bitbucket_server_import_jobs_limit container_registry_cleanup_tags_service_max_list_size
container_registry_delete_tags_service_timeout container_registry_expiration_policies_worker_capacity
container_registry_token_expire_delay package_registry_cleanup_policies_worker_capacity deactivate_dormant_users_period
decompress_archive_file_timeout default_branch_protection default_project_creation default_projects_limit
default_syntax_highlighting_theme deletion_adjourned_period diff_max_patch_bytes diff_max_files diff_max_lines
downstream_pipeline_trigger_limit_per_project_user_sha dsa_key_restriction ecdsa_key_restriction
ecdsa_sk_key_restriction ed25519_key_restriction ed25519_sk_key_restriction
external_pipeline_validation_service_timeout failed_login_attempts_unlock_period_in_minutes first_day_of_week
gitaly_timeout_default gitaly_timeout_fast gitaly_timeout_medium gitlab_shell_operation_limit
housekeeping_full_repack_period housekeeping_gc_period housekeeping_incremental_repack_period
housekeeping_optimize_repository_period issues_create_limit local_markdown_version max_artifacts_size
max_attachment_size max_decompressed_archive_size max_export_size max_import_size max_import_remote_file_size
max_login_attempts max_pages_size max_terraform_state_size_bytes metrics_method_call_threshold max_yaml_depth
max_yaml_size_bytes minimum_password_length pipeline_limit_per_project_user_sha project_jobs_api_rate_limit
projects_api_rate_limit_unauthenticated users_api_limit_following users_api_limit_followers users_api_limit_status
users_api_limit_ssh_keys users_api_limit_ssh_key users_api_limit_gpg_keys users_api_limit_gpg_key
push_event_activities_limit push_event_hooks_limit raw_blob_request_limit search_rate_limit
search_rate_limit_unauthenticated receive_max_input_size rsa_key_restriction session_expire_delay
runner_token_expiration_interval group_runner_token_expiration_interval project_runner_token_expiration_interval
sidekiq_job_limiter_compression_threshold_bytes sidekiq_job_limiter_limit_bytes snippet_size_limit
terminal_max_session_time throttle_authenticated_api_period_in_seconds
throttle_authenticated_api_requests_per_period throttle_authenticated_packages_api_period_in_seconds
throttle_authenticated_packages_api_requests_per_period throttle_authenticated_web_period_in_seconds
throttle_authenticated_web_requests_per_period throttle_unauthenticated_period_in_seconds
throttle_unauthenticated_requests_per_period throttle_unauthenticated_api_period_in_seconds
throttle_unauthenticated_api_requests_per_period throttle_unauthenticated_packages_api_period_in_seconds
throttle_unauthenticated_packages_api_requests_per_period throttle_unauthenticated_web_period_in_seconds
throttle_unauthenticated_web_requests_per_period two_factor_grace_period unique_ips_limit_per_user
unique_ips_limit_time_window wiki_page_max_content_bytes bulk_import_concurrent_pipeline_batch_limit
concurrent_relation_batch_export_limit asciidoc_max_includes helm_max_packages_count
inactive_projects_delete_after_months inactive_projects_min_size_mb inactive_projects_send_warning_email_after_months
"""
_STRINGS = """
admin_notification_email abuse_notification_email after_sign_out_path email_restrictions after_sign_up_text
akismet_api_key archive_builds_in_human_readable asset_proxy_secret_key asset_proxy_url auto_devops_domain
commit_email_hostname default_artifacts_expire_in default_branch_name default_ci_config_path
default_preferred_language diagramsnet_url eks_access_key_id eks_account_id eks_secret_access_key
email_confirmation_setting custom_http_clone_url_root enabled_git_access_protocol external_auth_client_cert
external_auth_client_key_pass external_auth_client_key external_authorization_service_default_label
external_authorization_service_timeout external_authorization_service_url external_pipeline_validation_service_url
external_pipeline_validation_service_token static_objects_external_storage_url
static_objects_external_storage_auth_token globally_allowed_ips grafana_url help_page_support_url help_page_text
home_page_url jira_connect_application_key jira_connect_proxy_url mailgun_signing_key performance_bar_allowed_group_id
performance_bar_allowed_group_path personal_access_token_prefix gitpod_url kroki_url plantuml_url
polling_interval_multiplier rate_limiting_response_text recaptcha_private_key recaptcha_site_key security_txt_content
shared_runners_text sidekiq_job_limiter_mode sign_in_text slack_app_id slack_app_secret slack_app_signing_secret
slack_app_verification_token snowplow_app_id snowplow_collector_hostname snowplow_database_collector_hostname
snowplow_cookie_domain sourcegraph_url spam_check_endpoint_url spam_check_api_key terms user_default_internal_regex
whats_new_variant jira_connect_additional_audience_url
"""
_LISTS = """
asset_proxy_whitelist asset_proxy_allowlist disabled_oauth_sign_in_sources domain_denylist domain_allowlist
import_sources outbound_local_requests_whitelist restricted_visibility_levels valid_runner_registrars
"""
_HASHES = """
default_branch_protection_defaults kroki_formats repository_storages_weighted sign_in_restrictions
vscode_extension_marketplace
"""
_VISIBILITIES = "default_group_visibility default_project_visibility default_snippet_visibility"
_NEEDS = {
    "akismet_enabled": ("akismet_api_key",),
    "asset_proxy_enabled": ("asset_proxy_url",),
    "enforce_terms": ("terms",),
    "gitpod_enabled": ("gitpod_url",),
    "kroki_enabled": ("kroki_url",),
    "plantuml_enabled": ("plantuml_url",),
    "recaptcha_enabled": ("recaptcha_site_key", "recaptcha_private_key"),
    "require_two_factor_authentication": ("two_factor_grace_period",),
    "shared_runners_enabled": ("shared_runners_text",),
    "sourcegraph_enabled": ("sourcegraph_url",),
}
_ON = """
allow_account_deletion allow_project_creation_for_guest_and_below allow_runner_registration_token
authorized_keys_enabled auto_devops_enabled can_create_group diagramsnet_enabled dns_rebinding_protection_enabled
gravatar_enabled hashed_storage_enabled housekeeping_bitmaps_enabled housekeeping_enabled html_emails_enabled
keep_latest_artifact mirror_available notify_on_unknown_sign_in pages_domain_verification_enabled
allow_local_requests_from_system_hooks password_authentication_enabled_for_git password_authentication_enabled_for_web
project_export_enabled prometheus_metrics_enabled protected_ci_variables remember_me_enabled
require_admin_approval_after_user_signup require_personal_access_token_expiry shared_runners_enabled signup_enabled
sourcegraph_public_only usage_ping_enabled user_oauth_applications user_show_add_ssh_key_message version_check_enabled
"""
PROTECTION = {
    0: {"allowed_to_push": [30], "allow_force_push": True, "allowed_to_merge": [30]},
    1: {"allowed_to_push": [30], "allow_force_push": False, "allowed_to_merge": [40]},
    2: {"allowed_to_push": [40], "allow_force_push": False, "allowed_to_merge": [40]},
    3: {"allowed_to_push": [40], "allow_force_push": True, "allowed_to_merge": [30]},
    4: {"allowed_to_push": [40], "allow_force_push": False, "allowed_to_merge": [30]},
}
"""`default_branch_protection`, the old number, as today's `default_branch_protection_defaults`."""


def _each(names, kind=""):
    return " ".join(f"{name}{kind}" for name in names.split())


_DECLARED = " ".join(
    (
        *(_each(_BOOLEANS, ":b"), _each(_INTEGERS, ":i"), _each(_STRINGS), _each(_LISTS, ":l"), _each(_HASHES, ":h")),
        _each(_VISIBILITIES, ":private,internal,public"),
    )
)
_NAMES = tuple(sorted({word.partition(":")[0] for word in _DECLARED.split()}))
SETTINGS = Parameters(_DECLARED, one_of=" ".join(_NAMES), needs=_NEEDS)
SECRET = frozenset(
    name for name in _NAMES if name.endswith(("_secret", "_secret_key", "_access_key", "_private_key", "_key_pass"))
)
"""Kept, never shown."""


def protection_defaults(level):
    """The hash that a protection level stands for."""
    pushes, merges = PROTECTION[level]["allowed_to_push"], PROTECTION[level]["allowed_to_merge"]
    return {
        "allowed_to_push": [{"access_level": one} for one in pushes],
        "allow_force_push": PROTECTION[level]["allow_force_push"],
        "allowed_to_merge": [{"access_level": one} for one in merges],
    }


def default_settings():
    """What a fresh instance has."""
    values = dict.fromkeys(_NAMES)
    values |= {name: name in _ON.split() for name in _BOOLEANS.split()}
    values |= dict.fromkeys(_INTEGERS.split(), 0) | {name: [] for name in _LISTS.split()}
    values |= dict.fromkeys(_VISIBILITIES.split(), "private")
    return values | {
        "default_projects_limit": 100_000,
        "default_branch_protection": 2,
        "default_branch_protection_defaults": protection_defaults(2),
        "default_preferred_language": "en",
        "deletion_adjourned_period": 30,
        "max_attachment_size": 100,
        "session_expire_delay": 10_080,
        "minimum_password_length": 8,
        "two_factor_grace_period": 48,
        "repository_storages_weighted": {"default": 100},
        "sign_in_restrictions": {},
        "personal_access_token_prefix": "glpat-",
        "valid_runner_registrars": ["project", "group"],
        "email_confirmation_setting": "off",
    }

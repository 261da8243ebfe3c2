"""How things look in the API: the attributes of GitLab's entities."""

from __future__ import annotations

from urllib.parse import urlsplit

from tests.fakes.gitlab.state import ADMIN, OWNER

_FEATURES = (
    *("issues", "repository", "merge_requests", "forking", "wiki", "builds", "snippets", "pages", "analytics"),
    *("container_registry", "security_and_compliance", "releases", "environments", "feature_flags", "infrastructure"),
    *("monitor", "model_experiments", "model_registry"),
)
_PROJECT_DEFAULTS = {
    "container_registry_enabled": True,
    "service_desk_enabled": False,
    "shared_runners_enabled": True,
    "group_runners_enabled": True,
    "lfs_enabled": True,
    "request_access_enabled": True,
    "only_allow_merge_if_pipeline_succeeds": False,
    "only_allow_merge_if_all_discussions_are_resolved": False,
    "allow_merge_on_skipped_pipeline": None,
    "remove_source_branch_after_merge": True,
    "printing_merge_request_link_enabled": True,
    "resolve_outdated_diff_discussions": False,
    "merge_method": "merge",
    "squash_option": "default_off",
    "suggestion_commit_message": None,
    "merge_commit_template": None,
    "squash_commit_template": None,
    "issue_branch_template": None,
    "auto_devops_enabled": True,
    "auto_devops_deploy_strategy": "continuous",
    "autoclose_referenced_issues": True,
    "build_timeout": 3600,
    "build_git_strategy": "fetch",
    "auto_cancel_pending_pipelines": "enabled",
    "ci_config_path": None,
    "ci_default_git_depth": 20,
    "ci_forward_deployment_enabled": True,
    "ci_separated_caches": True,
    "keep_latest_artifact": True,
    "restrict_user_defined_variables": False,
    "enforce_auth_checks_on_uploads": True,
    "show_diff_preview_in_email": True,
    "warn_about_potentially_unwanted_characters": True,
}
_GROUP_DEFAULTS = {
    "share_with_group_lock": False,
    "require_two_factor_authentication": False,
    "two_factor_grace_period": 48,
    "project_creation_level": "developer",
    "auto_devops_enabled": None,
    "subgroup_creation_level": "maintainer",
    "emails_enabled": True,
    "show_diff_preview_in_email": True,
    "mentions_disabled": None,
    "lfs_enabled": True,
    "request_access_enabled": True,
    "default_branch": None,
    "shared_runners_setting": "enabled",
    "max_artifacts_size": None,
    "enabled_git_access_protocol": "all",
}


def moment(value):
    return None if value is None else value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"


def day(value):
    return None if value is None else value.isoformat()


class Views:
    """Turns what the state holds into bodies; knows the address that links begin with."""

    def __init__(self, core):
        self._core = core

    @property
    def _state(self):
        return self._core.state

    def user_basic(self, user):
        return {
            "id": user.id,
            "username": user.username,
            "public_email": user.attributes.get("public_email") or None,
            "name": user.name,
            "state": user.state,
            "locked": False,
            "avatar_url": None,
            "web_url": f"{self._core.url}/{user.username}",
        }

    def user(self, user, *, is_admin=False, is_self=False):
        shown = self.user_basic(user) | {
            "created_at": moment(user.created_at),
            "bot": False,
            **{name: user.attributes.get(name, "") for name in ("bio", "location", "linkedin", "twitter", "discord")},
            **{name: user.attributes.get(name, "") for name in ("website_url", "github", "job_title", "organization")},
            "pronouns": user.attributes.get("pronouns"),
        }
        if is_admin or is_self:
            shown |= {
                "email": user.email,
                "commit_email": user.attributes.get("commit_email", user.email),
                "theme_id": user.attributes.get("theme_id", 3),
                "color_scheme_id": user.attributes.get("color_scheme_id", 1),
                "projects_limit": user.attributes.get("projects_limit", self._state.settings["default_projects_limit"]),
                "can_create_group": user.attributes.get("can_create_group", self._state.settings["can_create_group"]),
                "can_create_project": True,
                "two_factor_enabled": False,
                "identities": [],
                "external": user.external,
                "private_profile": user.attributes.get("private_profile", False),
                "confirmed_at": moment(user.created_at),
                "current_sign_in_at": None,
                "last_sign_in_at": None,
                "last_activity_on": None,
            }
        if is_admin or (is_self and user.admin):
            note = {"is_admin": user.admin, "note": user.attributes.get("note")}
            shown |= note | {"namespace_id": self._state.home(user).id, "created_by": None}
        return shown

    def token(self, token, *, with_value=False):
        shown = {
            "id": token.id,
            "name": token.name,
            "revoked": token.revoked,
            "created_at": moment(token.created_at),
            "description": token.description or None,
            "scopes": list(token.scopes),
            "user_id": token.user_id,
            "last_used_at": moment(token.last_used_at),
            "active": token.active,
            "expires_at": day(token.expires_at),
        }
        return shown | ({"token": token.value} if with_value else {})

    def namespace(self, namespace):
        path = self._state.namespace_path(namespace)
        web = f"{self._core.url}/{path}" if namespace.kind == "user" else f"{self._core.url}/groups/{path}"
        shown = {"id": namespace.id, "name": namespace.name, "path": namespace.path, "kind": namespace.kind}
        return shown | {"full_path": path, "parent_id": namespace.parent_id, "avatar_url": None, "web_url": web}

    def group(self, group):
        path = self._state.namespace_path(group)
        shown = {
            "id": group.id,
            "web_url": f"{self._core.url}/groups/{path}",
            "name": group.name,
            "path": group.path,
            "description": group.attributes.get("description") or "",
            "visibility": group.visibility,
            "avatar_url": None,
            "full_name": self._state.namespace_name(group),
            "full_path": path,
            "created_at": moment(group.created_at),
            "parent_id": group.parent_id,
            "organization_id": 1,
            "archived": False,
            "marked_for_deletion_on": day(group.deletion_on),
            "default_branch_protection": 2,
            "default_branch_protection_defaults": self._state.settings["default_branch_protection_defaults"],
        }
        given = {name: group.attributes.get(name, default) for name, default in _GROUP_DEFAULTS.items()}
        return shown | given | {"emails_disabled": not given["emails_enabled"]}

    def project_basic(self, project):
        path = self._state.project_path(project)
        place = self._state.namespaces[project.namespace_id]
        topics = project.attributes.get("topics", [])
        root = urlsplit(self._core.url)
        return {
            "id": project.id,
            "description": project.attributes.get("description"),
            "name": project.name,
            "name_with_namespace": f"{self._state.namespace_name(place)} / {project.name}",
            "path": project.path,
            "path_with_namespace": path,
            "created_at": moment(project.created_at),
            "default_branch": self.default_branch(project),
            "tag_list": topics,
            "topics": topics,
            "ssh_url_to_repo": f"git@{root.hostname}:{path}.git",
            "http_url_to_repo": f"{self._core.url}/{path}.git",
            "web_url": f"{self._core.url}/{path}",
            "readme_url": None,
            "forks_count": 0,
            "avatar_url": None,
            "star_count": len(project.starred_by),
            "last_activity_at": moment(project.last_activity_at),
            "visibility": project.visibility,
            "namespace": self.namespace(place),
        }

    def default_branch(self, project):
        if self._core.repositories.is_empty(project):
            return self.first_branch(project)
        return self._core.repositories.head(project)

    def first_branch(self, project):
        """The branch an empty project waits for."""
        place = self._state.namespaces[project.namespace_id]
        return place.attributes.get("default_branch") or self._state.settings["default_branch_name"] or "main"

    def project(self, project, call, *, with_statistics=False):
        is_open = {feature: project.feature(feature) for feature in _FEATURES}
        kept = project.attributes
        shown = self.project_basic(project) | {
            "container_registry_image_prefix": self._state.project_path(project),
            "_links": self._links(project),
            "packages_enabled": kept.get("packages_enabled", True),
            "empty_repo": self._core.repositories.is_empty(project),
            "archived": project.archived,
            "marked_for_deletion_at": day(project.deletion_on),
            "marked_for_deletion_on": day(project.deletion_on),
            "owner": None,
            "creator_id": project.creator_id,
            "import_url": None,
            "import_type": None,
            "import_status": "scheduled" if kept.get("import_url") else "none",
            "import_error": None,
            "open_issues_count": sum(issue["state"] == "opened" for issue in project.issues),
            "updated_at": moment(project.updated_at),
            "repository_object_format": project.object_format,
            "emails_enabled": kept.get("emails_enabled", True),
            "emails_disabled": not kept.get("emails_enabled", True),
            "public_jobs": kept.get("public_builds", True),
            "issues_enabled": is_open["issues"],
            "merge_requests_enabled": is_open["merge_requests"],
            "wiki_enabled": is_open["wiki"],
            "jobs_enabled": is_open["builds"],
            "snippets_enabled": is_open["snippets"],
            "can_create_merge_request_in": True,
            "shared_with_groups": [],
            **{f"{name}_access_level": self._level(project, name) for name in _FEATURES},
            **{name: kept.get(name, default) for name, default in _PROJECT_DEFAULTS.items()},
        }
        if call.is_admin and call.given.get("with_custom_attributes") in {"1", "true", True}:
            pairs = project.custom_attributes.items()
            shown["custom_attributes"] = [{"key": key, "value": text} for key, text in pairs]
        if call.user is not None:
            shown["permissions"] = self._permissions(project, call.user)
        if with_statistics:
            size = self._core.repositories.size_bytes(project)
            shown["statistics"] = {"commit_count": 0, "storage_size": size, "repository_size": size, "wiki_size": 0}
        return shown

    def _links(self, project):
        here = f"{self._core.url}/api/v4/projects/{project.id}"
        parts = {"issues": "issues", "merge_requests": "merge_requests", "repo_branches": "repository/branches"}
        parts |= {"labels": "labels", "events": "events", "members": "members", "cluster_agents": "cluster_agents"}
        return {"self": here} | {name: f"{here}/{part}" for name, part in parts.items()}

    @staticmethod
    def _level(project, name):
        return project.attributes.get(f"{name}_access_level") or ("enabled" if project.feature(name) else "disabled")

    def _permissions(self, project, user):
        direct = project.members.get(user.id)
        group = self._state.role(user, self._state.namespaces[project.namespace_id])
        as_access = {"notification_level": 3}
        return {
            "project_access": {"access_level": direct, **as_access} if direct else None,
            "group_access": {"access_level": group, **as_access} if group else None,
        }

    def member(self, user, level):
        return self.user_basic(user) | {
            "access_level": min(level, OWNER),
            "expires_at": None,
            "membership_state": "active",
        }


LEVEL_NAMES = {0: "No one", 30: "Developers + Maintainers", 40: "Maintainers", ADMIN: "Administrators"}


def protected_branch(entry):
    """A protected branch, as CE shows it."""

    def levels(kind):
        return [
            {"id": number, "access_level": level, "access_level_description": LEVEL_NAMES[level]}
            for number, level in entry[kind]
        ]

    return {
        "id": entry["id"],
        "name": entry["name"],
        "push_access_levels": levels("push"),
        "merge_access_levels": levels("merge"),
        "allow_force_push": entry["allow_force_push"],
    }

module autogit-security

go 1.22
